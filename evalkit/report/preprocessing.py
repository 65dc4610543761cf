"""How the encoders of evalkit resize an image, in words for the notes of a table."""

RESIZE = {
    "inception": "299 px, TensorFlow 1 bilinear",
    "inception-torch": "299 px, torch bilinear",
    "inception-clean": "299 px, Pillow bicubic with antialiasing",
    "inception-antialias": "299 px, torch bilinear with antialiasing",
    "clip-b32": "shorter side 224 px, bicubic, centre crop",
    "clip-b32-openai": "shorter side 224 px, bicubic, centre crop of OpenAI's code",
    "clip-b16": "shorter side 224 px, bicubic, centre crop",
    "clip-l14": "shorter side 224 px, bicubic, centre crop",
    "clip-l14-336": "shorter side 336 px, bicubic, centre crop",
    "clip-l14-336-cmmd": "centre crop, 336 px, bicubic",
    "dinov2-l14": "224 px, bicubic, aspect ratio not kept",
    "lpips-vgg": "256 px",
    "efficientnet-lite0": "shorter side 256 px, bicubic, centre crop 224 px",
    "mini-inception": "32 px, box filter",
    "mini-clip": "32 px, box filter",
    "pixels": "8 px, box filter",
}
