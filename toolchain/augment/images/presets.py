"""Preset policies: ``light``, ``medium``, ``strong``, and ``upright`` for images whose label a mirror would change.

Rotations and mirrors come first, then the crop, then pixel-wise transforms, which are cheapest on the crop.
"""

_LIGHT = """\
- RandomRotate90
- HorizontalFlip: {p: 0.5}
- RandomResizedCrop: {scale: [0.6, 1.0]}
- OneOf:
    p: 0.2
    transforms:
      - GaussianBlur: {sigma_limit: [0.3, 1.0]}
      - MotionBlur: {blur_limit: [3, 5]}
- RandomBrightnessContrast: {brightness_limit: 0.2, contrast_limit: 0.2, p: 0.5}
"""

_MEDIUM = """\
- RandomRotate90
- HorizontalFlip: {p: 0.5}
- RandomResizedCrop: {scale: [0.4, 1.0]}
- OneOf:
    p: 0.3
    transforms:
      - GaussianBlur: {sigma_limit: [0.3, 1.5]}
      - MotionBlur: {blur_limit: [3, 7]}
- RandomBrightnessContrast: {brightness_limit: 0.25, contrast_limit: 0.25, p: 0.5}
- HueSaturationValue: {hue_shift_limit: 10, sat_shift_limit: 30, val_shift_limit: 20, p: 0.3}
- GaussNoise: {std_range: [0.02, 0.06], p: 0.2}
- CoarseDropout: {num_holes_range: [1, 3], hole_height_range: [0.05, 0.2], hole_width_range: [0.05, 0.2], p: 0.3}
"""

_STRONG = """\
- Mosaic: {grid_yx: [2, 2], p: 0.3}
- RandomRotate90
- HorizontalFlip: {p: 0.5}
- RandomResizedCrop: {scale: [0.3, 1.0]}
- Affine: {scale: [0.8, 1.2], rotate: [-15, 15], shear: [-8, 8], p: 0.3}
- OneOf:
    p: 0.4
    transforms:
      - GaussianBlur: {sigma_limit: [0.3, 2.0]}
      - MotionBlur: {blur_limit: [3, 9]}
- RandomBrightnessContrast: {brightness_limit: 0.3, contrast_limit: 0.3, p: 0.5}
- RandomGamma: {gamma_limit: [70, 140], p: 0.2}
- HueSaturationValue: {hue_shift_limit: 15, sat_shift_limit: 40, val_shift_limit: 30, p: 0.4}
- GaussNoise: {std_range: [0.02, 0.1], p: 0.3}
- CoarseDropout: {num_holes_range: [1, 4], hole_height_range: [0.1, 0.25], hole_width_range: [0.1, 0.25], p: 0.4}
"""

_UPRIGHT = """\
- RandomResizedCrop: {scale: [0.8, 1.0], ratio: [0.9, 1.1]}
- Affine: {scale: [0.9, 1.1], translate_percent: [-0.06, 0.06], rotate: [-8, 8], p: 0.7}
- OneOf:
    p: 0.15
    transforms:
      - GaussianBlur: {sigma_limit: [0.3, 0.8]}
      - MotionBlur: {blur_limit: [3, 3]}
- RandomBrightnessContrast: {brightness_limit: 0.15, contrast_limit: 0.15, p: 0.4}
- GaussNoise: {std_range: [0.01, 0.04], p: 0.2}
"""

PRESETS = {"light": _LIGHT, "medium": _MEDIUM, "strong": _STRONG, "upright": _UPRIGHT}
