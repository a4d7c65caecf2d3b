"""Settings of the train stage."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from roadspeed.settings import Settings


class AugmentSettings(Settings):
    """How a crop is changed before the network sees it; image and mask always together."""

    flips: bool = True
    """Flip and transpose at random (the eight symmetries of the square)."""
    rotate_deg: float = Field(default=45.0, ge=0, le=180)
    """Largest rotation either way, in degrees."""
    scale: float = Field(default=0.15, ge=0, lt=0.9)
    """Largest change of scale: 0.15 draws from 0.85 to 1.15."""
    warp_share: float = Field(default=0.5, ge=0, le=1)
    """Share of crops that are rotated and scaled at all; the others keep their pixels as they are."""
    brightness: float = Field(default=0.25, ge=0, le=1)
    """Largest shift of brightness, as a share of the full range."""
    contrast: float = Field(default=0.3, ge=0, lt=1)
    """Largest change of contrast: 0.3 draws factors from 0.7 to 1.3."""
    band_gain: float = Field(default=0.15, ge=0, lt=1)
    """Largest change of each band's gain by itself: another soil, haze or sensor."""
    saturation: float = Field(default=0.3, ge=0, le=1)
    """Largest change of saturation of three-band images: 0.3 draws factors from 0.7 to 1.3."""
    colour_share: float = Field(default=0.8, ge=0, le=1)
    """Share of crops whose colours are changed."""


class LossSettings(Settings):
    """What training minimises: focal and soft Dice, weighted, over the speed bins and all roads."""

    variant: Literal["per_channel", "reference"] = "per_channel"
    """`per_channel`: Dice of each channel by itself, so that rare speeds count. `reference`: CRESI's, one Dice
    over all channels at once."""
    focal_weight: float = Field(default=0.75, ge=0)
    """Weight of the focal loss."""
    dice_weight: float = Field(default=0.25, ge=0)
    """Weight of the soft Dice loss."""
    focal_gamma: float = Field(default=1.0, ge=0, le=5)
    """How much the focal loss leaves out pixels that are already right; 0 is plain cross-entropy, CRESI has 2."""
    road_weight: float = Field(default=3.0, gt=0)
    """Weight of the channel of all roads beside 1 for each speed bin (`per_channel` only)."""
    road_pixel_weight: float = Field(default=10.0, ge=1)
    """How much a road's pixel counts in the channels of the speed bins, beside 1 for the background: which bin it is
    must be learned on the few pixels that are road (`per_channel` only)."""
    dice_on: Literal["roads", "all"] = "roads"
    """Channels with a Dice loss: only that of all roads, or each. Dice pays for saying yes when two bins cannot be
    told apart, so that both are said; without it the bins' probabilities stay honest (`per_channel` only)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.focal_weight + self.dice_weight <= 0:
            raise ValueError("focal_weight and dice_weight are both 0; one must be above")
        return self


class TrainSettings(Settings):
    """Settings of training one fold."""

    engine: Literal["auto", "ipex", "native"] = "auto"
    """What runs the network: IPEX, stock PyTorch, or IPEX where it imports."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Precision of the heavy operators; `auto` is BF16 where the CPU multiplies it natively."""
    encoder: str = "resnet34"
    """Encoder of the U-Net: a timm model's name."""
    weights: str = "imagenet"
    """Where the encoder starts: `imagenet` (downloaded by timm), `random`, or a file: safetensors or a PyTorch
    state dict, of the encoder or of a whole earlier checkpoint of roadspeed."""
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    """Channels of the decoder's five steps, from coarse to fine."""
    decoder_batch_norm: bool = True
    """Batch norm in the decoder; the reference has none and learns slower from random weights."""
    bands: int | None = Field(default=None, ge=1, le=16)
    """Bands of the images; empty: those that prepare.stretch.bands gives them. 8 are taken as WorldView's PS-MS,
    whose bands 5, 3, 2 are red, green, blue; of any other number these are the first three."""
    crop_px: int = Field(default=512, ge=32, multiple_of=32)
    """Side of the training crops in pixels."""
    crops_per_chip: int = Field(default=8, ge=1)
    """Crops of each training chip in an epoch."""
    rare_share: float = Field(default=0.3, ge=0, le=1)
    """Share of crops placed on a pixel of a speed bin drawn so that rare bins come up more often."""
    batch: int = Field(default=8, ge=1)
    """Crops in a batch."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before a step of the optimizer."""
    epochs: int = Field(default=50, ge=1)
    """Passes over the training chips."""
    patience: int = Field(default=0, ge=0)
    """Epochs without a better score after which training stops; 0 never stops early."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """AdamW, or Adam as the reference has."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate. 1e-3 suits batch norm and random weights; the reference's is 1e-4."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Weight decay (AdamW's decoupled one)."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the learning rate falls after the warm-up: to zero along a cosine, in steps, or not at all."""
    warmup_epochs: float = Field(default=0.5, ge=0)
    """Epochs in which the learning rate rises from zero."""
    step_epochs: tuple[int, ...] = (20, 25)
    """Epochs at whose start the `step` schedule multiplies the learning rate."""
    step_factor: float = Field(default=0.2, gt=0, le=1)
    """Factor of each of those steps."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest norm of the gradients; longer ones are shortened to it. 0 does not clip."""
    ema_decay: float = Field(default=0.99, ge=0, lt=1)
    """Decay a step of the running mean of the weights that is validated and kept; 0 keeps the weights themselves."""
    best_by: Literal["loss", "dice", "apls"] = "dice"
    """What the best epoch is chosen by on the validation chips: least loss, highest Dice, or highest APLS (the mean
    of that by length and that by travel time) of the graphs that the settings under extract make of them. Changing
    those does not train again."""
    apls_chips: int = Field(default=16, ge=1)
    """Validation chips whose graphs are scored for `best_by: apls`, drawn among those whose labels have roads."""
    apls_every: int = Field(default=1, ge=1)
    """Epochs between two such scorings; the last epoch is always scored. Only scored epochs can be the best."""
    loss: LossSettings = LossSettings()
    """The loss."""
    augment: AugmentSettings = AugmentSettings()
    """Augmentation."""
    seed: int = Field(default=42, ge=0)
    """Seed of weights, crops and augmentation."""
    processes: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Processes that share each batch of a training: `auto` is one for each NUMA node that the job's cores lie on, so
    one where they lie on a single node. Batch norm takes its statistics in each process."""
    loader_workers: int | None = Field(default=None, ge=0)
    """Processes that read crops, out of the threads of each training process; the network gets the rest. Empty
    chooses: as many as keep the network fed (2 of 56 threads, 7 where it runs on AMX), or none where the network's
    own threads lose less time by reading between two steps (below some 22 threads, 14 with AMX)."""

    @field_validator("engine", mode="before")
    @classmethod
    def _check_engine(cls, value: object) -> object:
        if value == "openvino":
            raise ValueError("openvino only infers; training takes auto, ipex or native")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.decoder_channels) != 5:
            raise ValueError(f"{len(self.decoder_channels)} decoder_channels; five are needed")
        if self.best_by == "apls" and 0 < self.patience < self.apls_every:
            raise ValueError(f"patience {self.patience} would end before an epoch is scored: apls_every is larger")
        if self.processes != "auto" and self.processes > self.batch:
            raise ValueError(f"{self.processes} processes cannot share a batch of {self.batch}; have fewer")
        return self

    @property
    def input_bands(self) -> int:
        """Bands of the network's input: three where nothing else is said."""
        return 3 if self.bands is None else self.bands
