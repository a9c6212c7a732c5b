"""Only evaluates pretrained weights on benchmarks; trains nothing, and needs no training data.

python train.py --config=configs/evaluate.py --workdir=runs/r50 \
    --config.init_from.path=backbone.pth --config.evaluation.protocols=lfw=DATA/lfw.bin

`python -m ddl_jax.interop show backbone.pth` prints what `config.model` has to be, for many files
colour, mean and deviation too; here the network is insightface's r50. docs/evaluation.md has all
benchmarks.
"""

from ddl_jax.config import Config, Data, Synthetic, variant


def get_config(name: str = "") -> Config:
    config = Config(steps=0, batch_size=8)
    # A train state has class centres; they are made for a few rendered people and never used.
    config.synthetic = Synthetic(train_identities=8, test_identities=2, easy_views=2, hard_views=1)
    config.init_from.head = "reset"
    config.evaluation.data = Data(source="none", split="", corrupt="")
    return variant(config, name)
