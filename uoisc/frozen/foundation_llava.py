"""Trains the small stand-in for LLaVA: transformers' own classes, a vision tower and words that start from a CLIP.

    scene --tower--> 9 image tokens --projector--> [USER: <image> x 9 | q1 a1 </s> | q2 a2 </s> | ...]

Several questions share a scene's image tokens in one packed sequence, each blind to the others. Source: ours.
"""

from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from uoisc.base.devices import precision
from uoisc.base.distributed import device
from uoisc.base.errors import DataError
from uoisc.base.settings import HEAD_WIDTH, Clip, Llava
from uoisc.data.answers import DENIAL
from uoisc.data.objects import plural
from uoisc.data.question_types import TYPES, answer_texts, query_words
from uoisc.data.questions import Query
from uoisc.data.scenes import Scenes, World
from uoisc.data.sights import COLOURS, PLACES, SIDES, TILES
from uoisc.data.styles import PLAIN
from uoisc.frozen.clip import MEAN, STD, FrozenCLIP
from uoisc.frozen.foundation import Progress, descend
from uoisc.frozen.llava import FrozenLlava

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>", "<image>", "USER:", "ASSISTANT:")
PAD, UNKNOWN, BEGIN, END, IMAGE, _, ASSISTANT = range(len(SPECIAL))
PROTOTYPE_SCENES = 2000
FIRST = 0.15  # of the steps: the first rounds; places, among all other questions from the start, may take all steps
SIMILARITY_STD = 0.09  # of tied queries and keys at the start: a matching tile gets most of the weight
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %} "
    "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def build_processor(world: World, cfg: Clip, image_size: int):
    """A `LlavaProcessor`: words of the benchmark, CLIP's normalisation, a chat template.

    Each side, each category (in one and in many) and each answer but a denial is one token.
    """
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    answers = [answer for answer in answer_texts(world) if not answer.startswith(DENIAL)]
    whole = [*answers, *SIDES, *world.categories, *map(plural, world.categories)]
    words = sorted({*query_words(world), *DENIAL.split()} - set(whole))
    model = models.WordLevel({word: i for i, word in enumerate((*SPECIAL, *words))}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    extra = {"image_token": "<image>"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=extra, **named)
    fast.add_tokens([AddedToken(text, single_word=True) for text in whole])
    sizes = {"size": {"shortest_edge": image_size}, "crop_size": {"height": image_size, "width": image_size}}
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(**sizes, image_mean=MEAN, image_std=STD),
        tokenizer=fast,
        patch_size=cfg.patch_size,
        vision_feature_select_strategy="default",
        image_token="<image>",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )


def build_llava(cfg: Llava, tower: Clip, vocabulary: int, image_size: int):
    """A randomly initialised `LlavaForConditionalGeneration` with a CLIP tower and a Llama."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    ends = {"pad_token_id": PAD, "eos_token_id": END}
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=cfg.width,
        intermediate_size=cfg.mlp_width,
        num_hidden_layers=cfg.layers,
        num_attention_heads=cfg.heads,
        num_key_value_heads=cfg.heads,
        max_position_embeddings=256,
        initializer_range=0.03,
        rope_parameters={"rope_type": "default", "rope_theta": 1e5},
        bos_token_id=BEGIN,
        **ends,
    )
    vision = CLIPVisionConfig(
        hidden_size=tower.width,
        intermediate_size=4 * tower.width,
        num_hidden_layers=tower.layers,
        num_attention_heads=tower.width // HEAD_WIDTH,
        image_size=image_size,
        patch_size=tower.patch_size,
        hidden_act="gelu",
        projection_dim=tower.embed_dim,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=IMAGE,
        image_seq_length=(image_size // tower.patch_size) ** 2,
        **{"projector_hidden_act": "linear", "vision_feature_layer": -1, "vision_feature_select_strategy": "default"},
        **ends,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.update(bos_token_id=BEGIN, **ends)
    return model


@torch.no_grad()
def start_from_tower(model, tokenizer, frozen: FrozenCLIP, world: World) -> None:
    """Tower, projector and words start where the tower is: an answer's word is the mean of the tiles that show it.

    Queries and keys of every other block start equal, so that attention starts as similarity; but for one
    channel, 1 in words and -1 in image tokens, whose sign the keys turn: so a word looks not at itself but at the
    tile that shows it, first its own and then one that it has worked out. Values of all blocks start as copies of what
    is attended to, at unit norm: else it takes a thousand steps until a word passes on its tile's place.
    """
    visual = frozen.model.visual
    copy_tower(visual, model.model.vision_tower)
    projector = model.model.multi_modal_projector
    scenes = world.sample_mixed(np.random.default_rng(0), PROTOTYPE_SCENES, world.pool())
    images = world.render(scenes).split(100)
    hidden = torch.cat([frozen.see(x).taps[:, -1].cpu() for x in images])  # (B, 9, d), of the last block
    linear = (visual.proj.T * visual.ln_post.weight).cpu() / hidden.std(-1).mean()  # CLIP's last norm and projection
    tokens = hidden @ linear.T
    bias = -tokens.mean((0, 1))
    scale = 1 / (tokens - tokens.mean((0, 1))).norm(dim=-1).mean()
    width = len(bias)
    for parameter in projector.parameters():
        parameter.zero_()
    projector.linear_1.weight[:width] = linear * scale
    projector.linear_1.bias[:width] = bias * scale
    projector.linear_1.bias[width] = -1.0
    projector.linear_2.weight.copy_(torch.eye(len(projector.linear_2.weight)))
    words = prototypes((tokens + bias).flatten(0, 1), scenes, world)
    ids = tokenizer.convert_tokens_to_ids(list(words))
    rows = F.pad(torch.stack(list(words.values())), (0, model.lm_head.weight.shape[1] - width))
    embedded, blocks = model.model.language_model.embed_tokens.weight, model.model.language_model.layers
    for table in (embedded, model.lm_head.weight):
        table.normal_(std=table.shape[1] ** -0.5)
        table[ids] = rows
    embedded[:, width] = 1.0
    start_attention(blocks, width)


def start_attention(blocks, width: int) -> None:
    """Queries, keys and values of a language model's blocks as `start_from_tower` says; `width`: that channel."""
    for block in blocks[::2]:
        key = block.self_attn.k_proj.weight
        key.copy_(block.self_attn.q_proj.weight.normal_(std=SIMILARITY_STD))
        key[:, width] *= -1
    for block in blocks:
        value, out = block.self_attn.v_proj.weight, block.self_attn.o_proj.weight
        torch.nn.init.orthogonal_(value)
        out.copy_(value.T * len(value) ** -0.5)  # of inputs as long as the norm before makes them


def prototypes(tokens: Float[Tensor, "T e"], scenes: Scenes, world: World) -> dict[str, Float[Tensor, " e"]]:
    """The words of objects, categories, places and colours: the unit-norm mean of the image tokens of the tiles that
    show it."""
    places, objects = np.tile(np.arange(TILES), len(scenes)), scenes.objects.ravel()
    kinds = np.where(objects >= 0, world.category_of[objects], -1)
    labels = [(world.names, objects), (PLACES, places), (tuple(COLOURS), scenes.colours.ravel())]
    labels += [(world.categories, kinds), ([*map(plural, world.categories)], kinds)]
    words = {}
    for names, label in labels:
        for index, name in enumerate(names):
            of = tokens[torch.from_numpy(label == index)]
            if len(of):
                words[name] = F.normalize(of.mean(0), dim=0)
    return words


def copy_tower(visual, tower) -> None:
    """open_clip's vision transformer into transformers' `CLIPVisionModel`: same function, other names."""
    theirs = visual.state_dict()
    ours = {
        "embeddings.class_embedding": theirs["class_embedding"],
        "embeddings.patch_embedding.weight": theirs["conv1.weight"],
        "embeddings.position_embedding.weight": theirs["positional_embedding"],
    }
    parts = {"attn.out_proj": "self_attn.out_proj", "ln_1": "layer_norm1", "ln_2": "layer_norm2"}
    parts |= {"mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    pairs = [("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")]
    for i in range(len(visual.transformer.resblocks)):
        block = f"transformer.resblocks.{i}"
        layer = f"encoder.layers.{i}"
        pairs += [(f"{block}.{a}", f"{layer}.{b}") for a, b in parts.items()]
        for kind in ("weight", "bias"):
            chunks = theirs[f"{block}.attn.in_proj_{kind}"].chunk(3)
            ours |= {f"{layer}.self_attn.{n}_proj.{kind}": c for n, c in zip("qkv", chunks, strict=True)}
    ours |= {f"{b}.{kind}": theirs[f"{a}.{kind}"] for a, b in pairs for kind in ("weight", "bias")}
    tower.load_state_dict(ours)


class Packer:
    """Packs each scene's questions and answers behind one set of image tokens."""

    def __init__(self, llava: FrozenLlava):
        self.llava = llava
        self.cache: dict[str, list[int]] = {}
        ids, _ = llava.tokenize(["x"])
        self.prefix = ids[0][: int((ids[0] == IMAGE).nonzero().max()) + 1].tolist()

    def ids(self, query: Query) -> tuple[list[int], list[int]]:
        """Token ids of what follows the image in the chat template, and of the answer with its end.

        Raises DataError for a word that the tokenizer does not know.
        """
        for text in (query.text, query.truth):
            if text not in self.cache:
                self.cache[text] = self.llava.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
                if UNKNOWN in self.cache[text]:
                    raise DataError(
                        f"{text!r} of question type {query.type!r} holds a word that the judges do not know: its query "
                        "must be of the type's template and its truth one of its answers (uoisc/data/question_types.py)"
                    )
        return [*self.cache[query.text], ASSISTANT], [*self.cache[query.truth], END]

    def __call__(
        self, queries: list[Query], per_scene: int
    ) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"], Bool[Tensor, "B 1 L L"], Int[Tensor, "B L"]]:
        """Token ids, positions, attention mask and labels (-100 where nothing is learnt)."""
        rows = [self._row(queries[i : i + per_scene]) for i in range(0, len(queries), per_scene)]
        ids, segment, position, labels = (
            pad_sequence([torch.tensor(row) for row in column], batch_first=True, padding_value=fill)
            for column, fill in zip(zip(*rows, strict=True), (PAD, -1, 0, -100), strict=True)
        )
        same = (segment[:, None] == segment[:, :, None]) | (segment[:, None] == 0)
        mask = (same & (segment[:, None] >= 0)).tril() | torch.eye(ids.shape[1], dtype=torch.bool)
        return ids, position, mask[:, None], labels

    def _row(self, queries: list[Query]) -> tuple[list[int], list[int], list[int], list[int]]:
        """Ids, segment (0: the image's), position and labels of a scene's tokens."""
        start = len(self.prefix)
        ids, segment, position, labels = [*self.prefix], [0] * start, [*range(start)], [-100] * start
        for k, (question, answer) in enumerate(map(self.ids, queries), start=1):
            length = len(question) + len(answer)
            ids += question + answer
            segment += [k] * length
            position += range(start, start + length)
            labels += [-100] * len(question) + answer
        return ids, segment, position, labels


def train_llava(
    cfg: Llava, tower: Clip, frozen: FrozenCLIP, world: World, image_size: int, seed: int, progress: Progress
) -> FrozenLlava:
    """A stand-in LLaVA that answers the benchmark's questions. The same seed gives the same weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    processor = build_processor(world, tower, image_size)
    model = build_llava(cfg, tower, len(processor.tokenizer), image_size)
    start_from_tower(model, processor.tokenizer, frozen, world)
    llava = FrozenLlava(model, processor).to(device())
    model.requires_grad_(True).train()
    model.model.vision_tower.requires_grad_(False)  # it knows the objects; at this learning rate it would forget them
    pack = Packer(llava)
    everything = world.pool()
    taken = count()
    rounds = [[kind for kind, of in TYPES.items() for _ in range(of.turns[later])] for later in (False, True)]

    def batch() -> tuple:
        scenes = world.sample_mixed(rng, cfg.batch_size, everything)
        kinds = rounds[next(taken) >= FIRST * cfg.steps]
        packed = pack(world.ask_each(rng, scenes, cfg.questions, kinds=kinds), cfg.questions)
        with precision(device()):
            return world.render(scenes), packed

    def loss_of(images: Float[Tensor, "B 3 H W"], packed: tuple[Tensor, ...]) -> Float[Tensor, ""]:
        ids, positions, mask, labels = (part.to(device()) for part in packed)
        with precision(device()):
            pixels = llava.pixels(images)
            seen = {"input_ids": ids, "position_ids": positions, "attention_mask": mask, "pixel_values": pixels}
            hidden = model.model(**seen, use_cache=False).last_hidden_state[:, :-1]
            learnt = labels[:, 1:] != -100
            logits = model.lm_head(hidden[learnt])
        return F.cross_entropy(logits.float(), labels[:, 1:][learnt])

    descend(model, cfg, progress(range(cfg.steps), "LLaVA"), batch, loss_of)
    return llava


def judge_accuracy(
    llava: FrozenLlava, world: World, seed: int, n: int, category: str | None, style: str = PLAIN
) -> dict[str, np.ndarray]:
    """Whether each answer on a source image of a style is right, by type: n questions in all, the types in turn."""
    rng = np.random.default_rng(seed)
    scenes = world.sample_test(rng, n, world.pool(), category, style)
    queries = world.ask_each(rng, scenes, 1, world.pool(only=category))
    answers = llava.answer(world.render(scenes), [q.text for q in queries])
    right = np.array([query.right(answer) for query, answer in zip(queries, answers, strict=True)])
    kinds = np.array([query.type for query in queries])
    return {kind: right[kinds == kind] for kind in TYPES}
