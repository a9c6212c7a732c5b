"""Insightface's numbers come out of insightface's files."""

import hashlib
import pathlib
import zipfile
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import traverse_util
from golden_weights import backbone_weights, iresnet_weights
from lightning_file import write_lightning

from ddl_jax.errors import UserError
from ddl_jax.interop import (
    load_torch_backbone,
    read_torch_backbone,
    read_torch_checkpoint,
    recognise_torch_backbone,
    save_torch_backbone,
    torch_backbone,
    write_torch_checkpoint,
)
from ddl_jax.interop.torch_names import naming_of
from ddl_jax.interop.torch_origin import find_origin, network_of
from ddl_jax.models import create_backbone
from tests.random_values import random_values

pytestmark = pytest.mark.usefixtures("quick_compilation")

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "iresnet.npz"))


@pytest.fixture(scope="module")
def mobilefacenets():
    return dict(np.load(GOLDEN / "mobilefacenets.npz"))


@pytest.fixture(scope="module")
def iresnet18_file(golden, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "iresnet18.pt"
    write_torch_checkpoint(path, iresnet_weights(golden["iresnet18_keys"]))
    return path


def tiny_variables(height=112, width=112):
    images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    module = create_backbone("iresnet_tiny", embedding_size=32)
    return random_values(jax.eval_shape(module.init, jax.random.key(0), images))


@pytest.mark.parametrize("name", ["iresnet18", "iresnet50"])
def test_embeddings_are_insightfaces(name, golden, tmp_path):
    path = tmp_path / f"{name}.pt"
    write_torch_checkpoint(path, iresnet_weights(golden[f"{name}_keys"]))
    variables = load_torch_backbone(path, name)
    embeddings = jax.jit(create_backbone(name).apply)(variables, golden["image"])
    # The golden numbers are float64, 15 (iresnet18) and 59 (iresnet50) at most.
    np.testing.assert_allclose(embeddings, golden[name], atol=1e-4, rtol=1e-6)


def assert_holds(path, weights):
    """The file holds these tensors and no others."""
    saved = read_torch_checkpoint(path)
    assert set(saved) == set(weights)
    for tensor, value in weights.items():
        np.testing.assert_array_equal(saved[tensor], value)


@pytest.fixture(scope="module")
def backbones():
    return dict(np.load(GOLDEN / "backbones.npz"))


@pytest.mark.parametrize(
    "name, key",
    [("ir_18", "tface_ir_18"), ("ir_se_50", "tface_ir_se_50"), ("mbf", "insightface_mbf")],
)
def test_embeddings_are_those_of_their_projects(name, key, backbones, tmp_path):
    weights = backbone_weights(backbones[f"{key}_keys"])
    write_torch_checkpoint(tmp_path / "weights.pt", weights)
    variables = load_torch_backbone(tmp_path / "weights.pt", name)
    embeddings = jax.jit(create_backbone(name).apply)(variables, backbones["image"])
    np.testing.assert_allclose(embeddings, backbones[key], atol=1e-4)
    save_torch_backbone(tmp_path / "saved.pt", name, variables)
    assert_holds(tmp_path / "saved.pt", weights)


def test_mbf_large_has_the_names_and_shapes_of_insightfaces(tmp_path):
    """No golden output holds it; this is the sum over names and shapes of the network in torch."""
    images = jax.ShapeDtypeStruct((1, 112, 112, 3), jnp.float32)
    shapes = jax.eval_shape(create_backbone("mbf_large").init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    save_torch_backbone(tmp_path / "zeros.pt", "mbf_large", zeros)
    state = read_torch_checkpoint(tmp_path / "zeros.pt")
    tensors = {
        name: value.shape for name, value in state.items() if "num_batches_tracked" not in name
    }
    assert zlib.crc32(repr(sorted(tensors.items())).encode()) == 774_728_949


def test_the_network_in_adafaces_own_checkpoint_is_read(backbones, tmp_path):
    weights, path = backbone_weights(backbones["tface_ir_18_keys"]), tmp_path / "adaface.ckpt"
    module = {f"model.{name}": value for name, value in weights.items()}
    head = {"head.kernel": np.zeros((512, 3), np.float32), "head.t": np.zeros(1, np.float32)}
    write_lightning(path, module | head)
    found = read_torch_backbone(path, None)
    assert (found.network, found.origin.project) == ("ir_18", "AdaFace (Lightning)")
    assert (found.origin.colour, found.left) == ("BGR", ["head.kernel", "head.t"])
    write_torch_checkpoint(tmp_path / "bare.pt", weights)
    bare = load_torch_backbone(tmp_path / "bare.pt", "ir_18")
    jax.tree.map(np.testing.assert_array_equal, found.variables, bare)


WRAPPED = [
    # MagFace's two ways of training, CVLface, AdaFace's Lightning module.
    ("features.module.", ["module.fc.weight"], "iresnet18", "MagFace", "magface_iresnet18"),
    ("module.features.", ["module.fc.weight"], "iresnet18", "MagFace", "magface_iresnet18"),
    ("net.", [], "tface_ir_18", "CVLface", "ir_18"),
    ("model.", ["head.kernel", "head.t"], "tface_ir_18", "AdaFace (Lightning)", "ir_18"),
    # Somebody's own, under a prefix that projects have too.
    ("model.", ["head.kernel"], "iresnet18", "", "iresnet18"),
    ("net.", [], "iresnet18", "", "iresnet18"),
    ("features.", [], "tface_ir_18", "", "ir_18"),
    ("model.", [], "insightface_mbf", "", "mbf"),
    # Trainers of anybody's, compiled and wrapped.
    ("backbone.", ["head.weight"], "tface_ir_18", "", "ir_18"),
    ("model.module.", [], "tface_ir_18", "", "ir_18"),
    ("module._orig_mod.", [], "tface_ir_18", "", "ir_18"),
    ("net.backbone.module._orig_mod.", ["loss.weight"], "iresnet18", "", "iresnet18"),
    ("student.", ["projector.weight"], "insightface_mbf", "", "mbf"),
]


@pytest.mark.parametrize("prefix, heads, key, project, network", WRAPPED)
def test_the_projects_are_known_by_their_prefixes_and_networks(
    prefix, heads, key, project, network, golden, backbones, tmp_path
):
    path = tmp_path / "weights.pth"
    if key == "iresnet18":
        weights = iresnet_weights(golden["iresnet18_keys"])
    else:
        weights = backbone_weights(backbones[f"{key}_keys"])
    head = dict.fromkeys(heads, np.zeros((3, 512), np.float32))
    write_torch_checkpoint(path, {f"{prefix}{n}": v for n, v in weights.items()} | head)
    name, origin = recognise_torch_backbone(path)
    assert (name, origin.project) == (network, project)
    assert bool(origin.colour) == (project not in ("", "CVLface"))
    found = read_torch_backbone(path, name)
    assert sorted(tensor.rpartition(".")[2] for tensor in found.left) == sorted(
        head.rpartition(".")[2] for head in heads
    )
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    counted = sum("num_batches" in tensor for tensor in weights)
    assert len(found.placed) == len(weights) - counted
    for ours, theirs, shape in found.placed:
        prefix = prefix.removeprefix("module.")
        assert theirs.startswith(prefix) and weights[theirs.removeprefix(prefix)].shape == shape
        assert f"{theirs} {shape} -> {ours}" in found.report()


def test_a_file_of_two_networks_is_refused(backbones, tmp_path):
    path, weights = tmp_path / "both.pt", tensors_of(backbones["insightface_mbf_keys"])
    both = {
        f"{side}.{name}": value
        for side in ("student", "teacher")
        for name, value in weights.items()
    }
    write_torch_checkpoint(path, both)
    told = refusal(load_torch_backbone, path, "mbf")
    assert "it holds 2 networks, behind 'student.' and 'teacher.': save the state dict of" in told
    with pytest.raises(UserError, match="it holds 2 networks"):
        recognise_torch_backbone(path)


def test_a_network_under_another_projects_prefix_may_be_magfaces(golden, tmp_path):
    path = tmp_path / "weights.pt"
    weights = iresnet_weights(golden["iresnet18_keys"])
    write_torch_checkpoint(path, {f"model.{name}": value for name, value in weights.items()})
    load_torch_backbone(path, "magface_iresnet18")
    told = refusal(load_torch_backbone, path, "ir_18")
    assert "its names are those of iresnet18; give that network" in told


def test_a_file_is_read_once(iresnet18_file, monkeypatch):
    path, reads = epath.Path(iresnet18_file), []
    opened = type(path).open

    def counted(path, *args):
        reads.append(path)
        return opened(path, *args)

    monkeypatch.setattr(type(path), "open", counted)
    digest = read_torch_backbone(path, "iresnet18").sha256
    assert len(reads) == 1
    assert digest == hashlib.sha256(iresnet18_file.read_bytes()).hexdigest()


def test_magfaces_networks_have_their_own_epsilon_momentum_and_scale(golden, iresnet18_file):
    """2e-5 is 1e-5 for variances that are 1e-5 larger."""
    variables = load_torch_backbone(iresnet18_file, "iresnet18")
    stats = jax.tree.map_with_path(
        lambda path, leaf: leaf + 1e-5 if path[-1].key == "var" else leaf, variables["batch_stats"]
    )
    wanted = create_backbone("iresnet18").apply(variables | {"batch_stats": stats}, golden["image"])
    magface = load_torch_backbone(iresnet18_file, "magface_iresnet18")
    assert set(magface["params"]["features"]) == {"scale", "bias"}
    found = create_backbone("magface_iresnet18").apply(magface, golden["image"])
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert (
        np.abs(found - create_backbone("iresnet18").apply(variables, golden["image"])).max() > 1e-4
    )
    moved = {}
    for name, before in (("iresnet18", variables), ("magface_iresnet18", magface)):
        train = create_backbone(name).apply(
            before, golden["image"], train=True, mutable=["batch_stats"]
        )
        after = train[1]["batch_stats"]["bn1"]["mean"]
        moved[name] = after - before["batch_stats"]["bn1"]["mean"]
    # Nine tenths of the way in place of one.
    np.testing.assert_allclose(moved["magface_iresnet18"], 9 * moved["iresnet18"], rtol=1e-3)


@pytest.mark.parametrize(
    "name",
    ["iresnet_tiny", "iresnet34", "iresnet100", "ir_18", "ir_50", "ir_se_101"]
    + ["mobilefacenet", "mobilefacenet_relu6", "mbf", "mbf_large"],
)
def test_networks_are_known_by_their_names(name):
    images = jax.ShapeDtypeStruct((1, 112, 112, 3), jnp.float32)
    variables = jax.eval_shape(create_backbone(name).init, jax.random.key(0), images)
    paths = traverse_util.flatten_dict(variables)
    names = {naming_of(name).tensor(path[1:]): None for path in paths}
    assert network_of(find_origin(names), names) == name


def test_unknown_names_are_not_recognised(tmp_path):
    path = tmp_path / "other.pt"
    write_torch_checkpoint(path, {"net0.weight": np.zeros((3, 2), np.float32)})
    with pytest.raises(UserError, match="no network known here, the first is 'net0.weight'"):
        recognise_torch_backbone(path)
    write_torch_checkpoint(path, {"bn.num_batches_tracked": np.zeros((), np.int64)})
    with pytest.raises(UserError, match="no network known here, the first is 'bn.num_"):
        read_torch_backbone(path, None)


# Name, key in the golden file, input size.
MOBILEFACENETS = [
    ("mobilefacenet_relu6", "mobilefacenet_relu6", (112, 112)),
    ("mobilefacenet", "mobilefacenet_prelu_112x96", (112, 96)),
]


@pytest.mark.parametrize("name, key, size", MOBILEFACENETS)
def test_embeddings_are_those_of_the_mobilefacenets_in_torch(
    name, key, size, mobilefacenets, tmp_path
):
    path = tmp_path / "weights.pt"
    write_torch_checkpoint(path, backbone_weights(mobilefacenets[f"{key}_keys"]))
    variables = load_torch_backbone(path, name, input_size=size)
    embeddings = jax.jit(create_backbone(name).apply)(variables, mobilefacenets[f"{key}_image"])
    np.testing.assert_allclose(embeddings, mobilefacenets[key], atol=1e-5)


@pytest.mark.parametrize("name, key, size", MOBILEFACENETS)
def test_saves_the_mobilefacenets_keys_and_numbers(name, key, size, mobilefacenets, tmp_path):
    original = backbone_weights(mobilefacenets[f"{key}_keys"])
    for file in ("original.pt", "saved.pt"):
        write_torch_checkpoint(tmp_path / file, original)
    variables = load_torch_backbone(tmp_path / "original.pt", name, input_size=size)
    save_torch_backbone(tmp_path / "saved.pt", name, variables)
    assert_holds(tmp_path / "saved.pt", original)


def renamed(state):
    """The same tensors in the same order under names that nobody knows."""
    modules = {}
    for name in state:
        module = name.rpartition(".")[0]
        modules.setdefault(module, f"net.{len(modules)}")
    return {f"{modules[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}": v for n, v in state.items()}


def test_unknown_names_are_read_by_the_order_of_the_layers(golden, mobilefacenets, tmp_path):
    prelu = backbone_weights(mobilefacenets["mobilefacenet_prelu_112x96_keys"])
    for name, state, size in (
        ("mobilefacenet", prelu, (112, 96)),
        ("iresnet18", iresnet_weights(golden["iresnet18_keys"]), (112, 112)),
    ):
        known, unknown = tmp_path / "known.pt", tmp_path / "unknown.pt"
        write_torch_checkpoint(known, state)
        write_torch_checkpoint(unknown, renamed(state))
        wanted = load_torch_backbone(known, name, input_size=size)
        found = load_torch_backbone(unknown, name, input_size=size)
        jax.tree.map(np.testing.assert_array_equal, found, wanted)


def tensors_of(keys):
    """What `name:shape` says, without memory for it."""
    split = (str(key).partition(":")[::2] for key in keys)
    return {
        name: np.broadcast_to(np.float32(0), [int(n) for n in shape.split("x") if n])
        for name, shape in split
        if not name.endswith("num_batches_tracked")
    }


def by_order(name, state):
    """For each variable of a backbone the tensor at its place in `state`, by our path."""
    order = torch_backbone._expected_variables(name, None, (112, 112))
    known = {path: naming_of(name).tensor(path[1:]) for path in order}
    hidden = dict(zip(state, renamed(state), strict=True))
    found = torch_backbone._find_names(naming_of(name), order, renamed(state), "x.pt")
    return found, {path: hidden[tensor] for path, tensor in known.items()}


@pytest.mark.parametrize("order", ["of application", "of the file"])
@pytest.mark.parametrize(
    "name, file, key",
    [
        ("ir_18", "backbones", "tface_ir_18"),
        ("ir_se_50", "backbones", "tface_ir_se_50"),
        ("mbf", "backbones", "insightface_mbf"),
        ("mobilefacenet_relu6", "mobilefacenets", "mobilefacenet_relu6"),
    ],
)
def test_unknown_names_are_read_in_either_order(name, file, key, order, request):
    state = tensors_of(request.getfixturevalue(file)[f"{key}_keys"])
    if order == "of application":
        paths = torch_backbone._expected_variables(name, None, (112, 112))
        state = {tensor: state[tensor] for tensor in (naming_of(name).tensor(p[1:]) for p in paths)}
    found, wanted = by_order(name, state)
    assert found == wanted


def test_a_file_of_ir_18_under_unknown_names_gives_its_numbers(backbones, tmp_path):
    weights, path = backbone_weights(backbones["tface_ir_18_keys"]), tmp_path / "weights.pt"
    write_torch_checkpoint(path, weights)
    wanted = load_torch_backbone(path, "ir_18")
    write_torch_checkpoint(path, renamed(weights))
    jax.tree.map(np.testing.assert_array_equal, load_torch_backbone(path, "ir_18"), wanted)


def test_unknown_names_are_refused_at_the_first_layer_that_does_not_fit(mobilefacenets, tmp_path):
    state = renamed(backbone_weights(mobilefacenets["mobilefacenet_prelu_112x96_keys"]))
    path = tmp_path / "unknown.pt"

    def refused(name, **changes):
        changed = {**state, **changes}
        write_torch_checkpoint(path, {k: v for k, v in changed.items() if v is not None})
        return refusal(load_torch_backbone, path, name, (112, 96))

    other = refused("mobilefacenet_relu6")  # which has no PReLU behind its first BatchNorm
    assert "number 3, 'net.2', is a PReLU, but 'stem_depthwise.conv' a convolution" in other
    last = list(state)[-1].rpartition(".")[0]
    assert "no layer 'features' as number" in refused(
        "mobilefacenet", **{name: None for name in state if name.startswith(f"{last}.")}
    )
    assert "another layer 'head'" in refused("mobilefacenet", **{"head.weight": np.zeros((3, 2))})
    shape = refused("mobilefacenet", **{"net.3.weight": np.zeros((64, 1, 5, 5), np.float32)})
    assert "'net.3.weight' has shape (64, 1, 5, 5), expected (64, 1, 3, 3)" in shape


def test_saves_insightfaces_keys_and_numbers(golden, iresnet18_file, tmp_path):
    path = tmp_path / "saved.pt"
    save_torch_backbone(path, "iresnet18", load_torch_backbone(iresnet18_file, "iresnet18"))
    saved, original = read_torch_checkpoint(path), read_torch_checkpoint(iresnet18_file)
    keys = {f"{name}:{'x'.join(map(str, value.shape))}" for name, value in saved.items()}
    assert keys == set(golden["iresnet18_keys"])
    for name, value in original.items():
        np.testing.assert_array_equal(saved[name], value)
        assert saved[name].dtype == value.dtype


def test_a_backbone_survives_the_file(tmp_path):
    variables = tiny_variables()
    path = tmp_path / "tiny.pt"
    save_torch_backbone(path, "iresnet_tiny", variables)
    again = load_torch_backbone(path, "iresnet_tiny")
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


def refusal(call, path, name, size=(112, 112)):
    with pytest.raises(UserError) as error:
        call(path, name, input_size=size)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refuses_another_network(iresnet18_file, tmp_path):
    for other in ("iresnet34", "iresnet50", "iresnet_tiny", "ir_18"):
        told = refusal(load_torch_backbone, iresnet18_file, other)
        assert "its names are those of iresnet18; give that network" in told
    # Bare names are those of both.
    load_torch_backbone(iresnet18_file, "magface_iresnet18")
    assert "unknown backbone" in refusal(load_torch_backbone, iresnet18_file, "iresnet")
    for variables in ({"params": {}}, tiny_variables()):
        with pytest.raises(UserError, match="not those of iresnet18"):
            save_torch_backbone(tmp_path / "wrong.pt", "iresnet18", variables)


def changed(variables, path, value):
    flat = traverse_util.flatten_dict(variables)
    return traverse_util.unflatten_dict({**flat, tuple(path.split("/")): value})


@pytest.mark.parametrize(
    "path, shape",
    [
        ("params/conv1/kernel", (3, 3, 3, 5)),
        ("params/fc/kernel", (2048, 31)),
        ("params/fc/kernel", (2048,)),
        ("params/bn2/bias", (1,)),
        ("batch_stats/features/var", (31,)),
        ("batch_stats/features/mean", (31,)),
        ("batch_stats/features/mean", ()),
    ],
)
def test_saves_no_variables_of_another_shape(path, shape, tmp_path):
    wrong, out = changed(tiny_variables(), path, np.zeros(shape, np.float32)), tmp_path / "x.pt"
    with pytest.raises(UserError, match=r"not those of iresnet_tiny: '.*' has shape \("):
        save_torch_backbone(out, "iresnet_tiny", wrong)
    assert not list(tmp_path.iterdir())


def test_a_backbone_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    def save(path):
        save_torch_backbone(path, "iresnet_tiny", tiny_variables())

    for path, told in (("no/x.pt", "no directory"), (".", "is a directory; give the name of")):
        with pytest.raises(UserError, match=told):
            save(tmp_path / path)
    with pytest.raises(UserError, match="cannot be written"):
        save("/proc/x.pt")
    out = tmp_path / "x.pt"
    save(out)
    before, write, calls = out.read_bytes(), zipfile.ZipFile.writestr, []

    def write_some(*args):
        calls.append(args)
        if len(calls) == 9:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", write_some)
    with pytest.raises(KeyboardInterrupt):
        save(out)
    assert [out] == list(tmp_path.iterdir()) and out.read_bytes() == before


def test_names_the_first_tensor_that_does_not_fit(tmp_path):
    path = tmp_path / "tiny.pt"
    save_torch_backbone(path, "iresnet_tiny", tiny_variables())
    state = read_torch_checkpoint(path)

    def refused(**changes):
        changed = {**state, **changes}
        write_torch_checkpoint(path, {k: v for k, v in changed.items() if v is not None})
        return refusal(load_torch_backbone, path, "iresnet_tiny")

    assert "no tensor 'bn2.bias'" in refused(**{"bn2.bias": None})
    assert "no tensor 'fc.weight'" in refused(**{"fc.weight": None})
    infinite = state["bn2.bias"] + np.float32(np.inf)
    assert "tensor 'bn2.bias' has numbers that are not finite" in refused(**{"bn2.bias": infinite})
    told = refused(**{"bn2.running_var": state["bn2.running_var"] - 2})
    assert "tensor 'bn2.running_var' has a variance of -1." in told and "none is below 0" in told
    assert "also has tensor 'head' (1 such" in refused(head=np.zeros((3, 2), np.float32))
    kernel = np.zeros((16, 8, 5, 3), np.float32)
    shape = refused(**{"layer1.0.conv1.weight": kernel})
    assert "'layer1.0.conv1.weight' has shape (16, 8, 5, 3), expected (16, 8, 3, 3)" in shape


def test_names_of_strangers_stay_in_their_line(tmp_path):
    path, tensor = tmp_path / "tiny.pt", np.zeros((2, 2), np.float32)
    save_torch_backbone(path, "iresnet_tiny", tiny_variables())
    own = {f"net\x1b.{name}": value for name, value in read_torch_checkpoint(path).items()}
    write_torch_checkpoint(path, own | {"head\n\x1b[2Jfc.weight -> params/fc/kernel": tensor})
    report = read_torch_backbone(path, "iresnet_tiny").report()
    assert report.replace("\n", "").isprintable()
    lines = report.splitlines()
    assert r"net\x1b.fc.weight (32, 2048) -> params/fc/kernel" in lines
    assert r"head\n\x1b[2Jfc.weight -> params/fc/kernel left out" in lines
    for long in ("n" * 5000, "a.\x1b" + "n" * 5000):
        write_torch_checkpoint(path, {long: tensor})
        told = refusal(load_torch_backbone, path, "iresnet_tiny")
        assert told.isprintable() and len(told) < len(str(path)) + 400


def test_another_input_size_is_named(tmp_path):
    path = tmp_path / "small.pt"
    save_torch_backbone(path, "iresnet_tiny", tiny_variables(56, 48))
    message = refusal(load_torch_backbone, path, "iresnet_tiny")
    assert "'fc.weight' has shape (32, 512), expected (32, 2048)" in message
    load_torch_backbone(path, "iresnet_tiny", input_size=(56, 48))


def test_height_and_width_are_told_apart_where_the_file_tells_them(tmp_path):
    module, path = create_backbone("mobilefacenet", embedding_size=16), tmp_path / "wide.pt"
    for size in ((112, 96), (16, 96)):  # maps of 7x6 and of 1x6
        images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        variables = random_values(jax.eval_shape(module.init, jax.random.key(0), images))
        save_torch_backbone(path, "mobilefacenet", variables)
        assert "'linear7.conv.weight' has shape (512, 1," in refusal(
            load_torch_backbone, path, "mobilefacenet", size[::-1]
        )
