"""ImageReward with small seeded networks, against timm's ViT and transformers' BERT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from evalkit.scorers.image_reward import ImageReward, tokenizer

transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")
WIDTH, TEXT, SIZE = 128, 192, 224
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "on", "boat", "##s", ","]
PROMPTS = ["a red cat", "Cats, boats", "", "a cat on a red boat " * 10, "zzz on A boat"]
SIZES = [(224, 224), (64, 48), (301, 200), (150, 333), (225, 448)]
IMAGES = [
    Image.fromarray(
        np.random.RandomState(width).randint(0, 256, (height, width, 3), dtype=np.uint8)
    )
    for width, height in SIZES
]


class Peer:
    """The network of image-reward 1.5, from other people's parts of the same architecture.

    BLIP's image tower is timm's ViT. Its text tower is BERT with cross-attention and without types
    of tokens, in which all tokens see each other.
    """

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.vision = timm.models.vision_transformer.VisionTransformer(
            img_size=SIZE, patch_size=16, embed_dim=WIDTH, depth=2, num_heads=2, num_classes=0
        )
        config = transformers.BertConfig(
            vocab_size=len(WORDS), hidden_size=TEXT, num_hidden_layers=2, num_attention_heads=3,
            intermediate_size=2 * TEXT, is_decoder=True, add_cross_attention=True,
        )  # fmt: skip
        config.encoder_hidden_size = WIDTH
        self.text = transformers.BertModel(config, add_pooling_layer=False)
        for layer in self.text.encoder.layer:  # keys and values have the width of the image tower
            for part in ("key", "value"):
                setattr(layer.crossattention.self, part, nn.Linear(WIDTH, TEXT))
        self.head = nn.Sequential(
            nn.Linear(TEXT, 64), nn.Dropout(0.2), nn.Linear(64, 32), nn.Dropout(0.2),
            nn.Linear(32, 16), nn.Dropout(0.1), nn.Linear(16, 8), nn.Linear(8, 1),
        )  # fmt: skip
        for network in (self.vision, self.text, self.head):
            network.eval().requires_grad_(False)
            for name, tensor in network.named_parameters():
                scale = "norm" in name.lower() and name.endswith("weight")
                nn.init.normal_(tensor, float(scale), 0.15)
        self.text.embeddings.token_type_embeddings.weight.zero_()

    def state(self) -> dict[str, Tensor]:
        """Tensors with the names of the published file, and others that it holds."""
        found = {f"blip.visual_encoder.{name}": x for name, x in self.vision.state_dict().items()}
        for name, tensor in self.text.state_dict().items():
            if "token_type" not in name:
                found[f"blip.text_encoder.{name}"] = tensor
        found |= {f"mlp.layers.{name}": tensor for name, tensor in self.head.state_dict().items()}
        found["blip.text_encoder.embeddings.position_ids"] = torch.arange(512)[None]
        found["blip.vision_proj.weight"] = torch.zeros(256, WIDTH)
        return found

    def score(self, image: Image.Image, prompt: str) -> float:
        """As `ImageReward.score` of image-reward 1.5 (ImageReward/ImageReward.py)."""
        from torchvision.transforms import (
            CenterCrop,
            Compose,
            InterpolationMode,
            Normalize,
            Resize,
            ToTensor,
        )

        preprocess = Compose(
            [
                Resize(SIZE, interpolation=InterpolationMode.BICUBIC),
                CenterCrop(SIZE),
                ToTensor(),
                Normalize(
                    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
                ),
            ]
        )
        words = transformers.BertTokenizer(vocab={word: n for n, word in enumerate(WORDS)})
        text = words(
            [prompt], padding="max_length", truncation=True, max_length=35, return_tensors="pt"
        )
        with torch.inference_mode():
            seen = self.vision.forward_features(preprocess(image)[None])
            mask = text["attention_mask"].bool()[:, None, None, :].expand(1, 1, 35, 35)
            read = self.text(
                input_ids=text["input_ids"], attention_mask=mask, encoder_hidden_states=seen
            )
            reward = self.head(read.last_hidden_state[:, 0])
        return ((reward - 0.16717362830052426) / 1.0333394966054072).item()


@pytest.fixture(scope="module")
def peer() -> Peer:
    return Peer()


@pytest.fixture
def scorer(pin, peer: Peer) -> ImageReward:
    pin("image-reward", lambda path: torch.save(peer.state(), path))
    pin("bert-vocabulary", lambda path: Path(path).write_text("\n".join(WORDS) + "\n"))
    return ImageReward(device="cpu")


def test_rewards_agree_with_the_published_code(scorer: ImageReward, peer: Peer):
    theirs = [peer.score(image, text) for image, text in zip(IMAGES, PROMPTS, strict=True)]
    ours = scorer(IMAGES, PROMPTS)
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
    assert np.std(ours) > 0.1
    assert scorer.name == "image-reward-v1.0"


def test_values_do_not_depend_on_the_batch(scorer: ImageReward):
    images, prompts = [IMAGES[n % 5] for n in range(11)], [PROMPTS[n % 4] for n in range(11)]
    alone = [scorer([image], [text])[0] for image, text in zip(images, prompts, strict=True)]
    assert scorer(images, prompts) == pytest.approx(alone, rel=1e-5, abs=1e-6)


def test_prompts_of_more_than_35_tokens_are_cut_and_counted(scorer: ImageReward):
    exact = "cat " * 33  # with [CLS] and [SEP]
    assert scorer.truncated([exact, exact + "boat", "a cat"]) == 1
    first, second, other = scorer(IMAGES[:1] * 3, [exact, exact + "boat", "boat " + exact])
    assert first == pytest.approx(second, rel=1e-6)
    assert other != pytest.approx(first, rel=1e-3)


def test_the_tokenizer_is_that_of_bert(tmp_path: Path):
    """Lower case, accents removed, pieces of words, and [UNK] for others."""
    (tmp_path / "vocabulary.txt").write_text("\n".join(WORDS) + "\n")
    found = tokenizer(tmp_path / "vocabulary.txt")("Réd  CATS,dog")["input_ids"]
    assert [WORDS[number] for number in found] == [
        "[CLS]", "red", "cat", "##s", ",", "[UNK]", "[SEP]",
    ]  # fmt: skip
