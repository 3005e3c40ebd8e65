from toolchain.augment.images.catalog import load


def test_albumentations_is_loaded_without_pytorch_and_without_an_update_check():
    library = load()
    assert library.__version__ == "2.0.8"
    assert not hasattr(library, "ToTensorV2")
