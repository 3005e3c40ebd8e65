{{/*
A Kubernetes quantity in whole bytes, since Kubernetes normalizes quantities: 0.5Ti as 512Gi, 1000G as 1T, 0.1Gi as
107374182400m, 1e9 as 1G. A number in the values may be rendered as 1.073741824e+11.
*/}}
{{- define "toolchain.bytes" -}}
{{- $text := toString . -}}
{{- $suffix := regexFind "(m|k|[KMGTPE]i?)$" $text -}}
{{- $unit := dict "" 1.0 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
      "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- mulf (trimSuffix $suffix $text | float64) (get $unit $suffix) | printf "%.0f" -}}
{{- end }}
