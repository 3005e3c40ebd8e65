import os
from pathlib import Path

import pytest

from toolchain.hardware import cpu
from toolchain.hardware.cpu import describe, from_flags, parse_cpuinfo, parse_sysctl, usable_cores

pytestmark = pytest.mark.machine
# What /proc/cpuinfo says on real machines, cut to the lines that count.
AMD_EPYC_MILAN = """\
processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 7763 64-Core Processor
flags\t\t: fpu vme sse sse2 ht ssse3 fma cx16 sse4_1 sse4_2 movbe popcnt aes xsave avx f16c rdrand bmi1 avx2 smep bmi2 \
erms rdseed adx smap clflushopt clwb sha_ni vaes vpclmulqdq

processor\t: 1
model name\t: another
flags\t\t: amx_int8
"""
INTEL_CASCADE_LAKE = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz
flags\t\t: fpu sse sse2 ssse3 fma sse4_1 sse4_2 avx f16c avx2 bmi2 mpx avx512f avx512dq avx512cd avx512bw avx512vl ida \
arat pku ospke avx512_vnni
"""
INTEL_SAPPHIRE_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse sse2 fma avx f16c avx2 avx512f avx512dq avx512bw avx512vl avx_vnni avx512_bf16 avx512_vnni \
amx_bf16 avx512_fp16 amx_tile amx_int8
"""
INTEL_SKYLAKE = """\
model name\t: Intel(R) Xeon(R) CPU @ 2.00GHz
flags\t\t: fpu sse2 fma avx avx2 bmi2 avx512f avx512dq avx512cd avx512bw avx512vl
"""
INTEL_ALDER_LAKE = "model name\t: 12th Gen Intel(R) Core(TM) i7-12700K\nflags\t\t: fpu sse2 fma avx avx2 avx_vnni\n"
GRAVITON_2 = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
"""
RASPBERRY_PI_4 = """\
processor\t: 0
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08
"""
OLD_PC = "model name\t: Intel(R) Core(TM)2 Duo CPU E8400 @ 3.00GHz\nflags\t\t: fpu sse sse2 ssse3 sse4_1\n"
MAC_M2 = "machdep.cpu.brand_string: Apple M2\nhw.optional.AdvSIMD: 1\nhw.optional.arm.FEAT_DotProd: 1\n"
MAC_INTEL = """\
machdep.cpu.brand_string: Intel(R) Core(TM) i5-8259U CPU @ 2.30GHz
machdep.cpu.features: FPU VME SSE SSE2 FMA AVX1.0
machdep.cpu.leaf7_features: BMI1 AVX2 SMEP
hw.optional.avx2_0: 1
"""


@pytest.mark.parametrize(
    ("text", "name", "kind", "dot_products"),
    [
        (AMD_EPYC_MILAN, "AMD EPYC 7763 64-Core Processor", "avx2", False),
        (INTEL_CASCADE_LAKE, "Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", "avx512-vnni", True),
        (INTEL_SAPPHIRE_RAPIDS, "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "amx", True),
        (INTEL_SKYLAKE, "Intel(R) Xeon(R) CPU @ 2.00GHz", "avx512", False),
        (INTEL_ALDER_LAKE, "12th Gen Intel(R) Core(TM) i7-12700K", "avx-vnni", True),
        (GRAVITON_2, "ARM Neoverse-N1", "neon-dotprod", True),
        (RASPBERRY_PI_4, "ARM Cortex-A72", "neon", False),
        (OLD_PC, "Intel(R) Core(TM)2 Duo CPU E8400 @ 3.00GHz", "baseline", False),
    ],
)
def test_distinguishes_types_of_linux_machines(text: str, name: str, kind: str, dot_products: bool):
    found = from_flags(*parse_cpuinfo(text), cores=2)
    assert (found.name, found.kind, found.has_int8_dot_products) == (name, kind, dot_products)


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [(MAC_M2, "Apple M2", "neon-dotprod"), (MAC_INTEL, "Intel(R) Core(TM) i5-8259U CPU @ 2.30GHz", "avx2")],
)
def test_distinguishes_macs(text: str, name: str, kind: str):
    found = from_flags(*parse_sysctl(text), cores=4)
    assert (found.name, found.kind) == (name, kind)


def test_names_instruction_sets_in_peoples_words_in_one_order():
    flags = ["avx512_vnni", "fma", "avx2", "avx512f", "sse2"]
    assert from_flags("x", flags, 1).instruction_sets == ("AVX2", "FMA", "AVX512", "AVX512-VNNI")


def test_an_arm_chip_without_a_name_shows_its_numbers():
    name, _ = parse_cpuinfo("Features\t: asimd\nCPU implementer\t: 0x42\nCPU part\t: 0x516\n")
    assert name.endswith("0x42 0x516")


@pytest.mark.parametrize(("quota", "cores"), [("100000 100000", 1), ("150000 100000", 2), ("50000 100000", 1)])
def test_a_containers_quota_counts_rounded_up(quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(cpu, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert usable_cores() == cores


def test_without_a_quota_every_core_of_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cpu.max").write_text("max 100000\n")
    monkeypatch.setattr(cpu, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert usable_cores() == 3


def test_describes_this_machine():
    here = describe()
    assert here.name
    assert here.cores >= 1
    assert here.kind in {*cpu.KINDS.values(), cpu.BASELINE}


def test_a_system_that_reports_nothing_is_the_baseline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(cpu.sys, "platform", "plan9")
    assert describe().kind == cpu.BASELINE
