"""Released students: read from what hls4ml writes and from archives, and the bits of what runs today."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from objectives.costs.adder_graph import compile_adder_graph
from objectives.costs.config import Hardware
from objectives.errors import DataError
from objectives.students.deployed import read_deployed
from objectives.students.deployed.fixed_type import parse_type
from objectives.students.network import Quantize

CICADA = Path(os.environ.get("SWEEP_SHARED", Path(__file__).parents[3] / "shared")) / "cicada"
WEIGHTS, EVENTS = CICADA / "deployed_v2p1p2_weights.npz", CICADA / "reference_events.npz"

Arrays = dict[str, NDArray[np.float64]]


# ---- what is deployed ---------------------------------------------------------------------------


@pytest.mark.skipif(not EVENTS.exists(), reason=f"needs {EVENTS.name}; set SWEEP_SHARED to its folder")
def test_every_bit_of_the_deployed_student() -> None:
    events = np.load(EVENTS)
    network = read_deployed(WEIGHTS)
    assert (network.predict(events["et"]) == events["score_v2p1p2"]).all()
    graph = compile_adder_graph(network, Hardware())
    assert (graph.predict(events["et"]) == events["score_v2p1p2"]).all()
    assert graph.latency_ns <= 200


@pytest.mark.skipif(not EVENTS.exists(), reason=f"needs {EVENTS.name}; set SWEEP_SHARED to its folder")
def test_an_hgq_student_takes_over_every_bit_of_it() -> None:
    from objectives.quantization import DataQuantization, Quantization
    from objectives.schemes import hgq
    from objectives.students.architecture import Architecture

    events = np.load(EVENTS)
    data = DataQuantization(overflow="SAT", rounding="RND_CONV")
    quantization = Quantization(data=data, score_rounding="RND_CONV")
    model = hgq.build_student(Architecture(), quantization)
    hgq.initialise(model, quantization, seed=0)
    hgq.adopt(model, read_deployed(WEIGHTS), events["et"])
    assert (hgq.describe(model).predict(events["et"]) == events["score_v2p1p2"]).all()


# ---- what hls4ml writes -------------------------------------------------------------------------


def released_weights() -> Arrays:
    """Weights of a v2 student, drawn from the values of the types it was released with.

    The hidden sums exceed what their layer's type holds below, so that some wrap.
    """
    rng = np.random.default_rng(5)
    return {
        "conv": rng.integers(-400, 600, (2, 2, 1, 4)) / 256,
        "dense1": rng.integers(-40, 60, (252, 16)) / 64,
        "dense1_bias": rng.integers(-128, 128, 16) / 16,
        "dense2": rng.integers(-90, 110, (16, 1)) / 256,
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """An hls4ml project of that student, compiled; types as released, but for one."""
    import hls4ml
    import keras
    from keras import layers

    weights = released_weights()
    x = inputs = keras.Input((18, 14, 1), name="inputs")
    x = layers.Conv2D(4, 2, strides=2, use_bias=False, name="conv")(x)
    x = layers.Activation("relu", name="relu0")(x)
    x = layers.Dense(16, name="dense1")(layers.Flatten()(x))
    x = layers.Activation("relu", name="relu1")(x)
    x = layers.Dense(1, use_bias=False, name="dense2")(x)
    model = keras.Model(inputs, layers.Activation("relu", name="outputs")(x))
    model.get_layer("conv").set_weights([weights["conv"]])
    model.get_layer("dense1").set_weights([weights["dense1"], weights["dense1_bias"]])
    model.get_layer("dense2").set_weights([weights["dense2"]])
    config = hls4ml.utils.config_from_keras_model(model, granularity="name")
    hidden, nothing = "ap_ufixed<10,6,AP_RND_CONV,AP_SAT>", "ap_uint<1>"
    wide, narrow = "ap_fixed<30,22>", "ap_fixed<26,14>"
    for name, types in {
        "inputs": {"result": "ap_uint<10>"},
        "conv": {"weight": "ap_fixed<12,4>", "bias": nothing, "accum": wide, "result": wide},
        "relu0": {"result": hidden},
        "dense1": {
            "weight": "ap_fixed<8,2>",
            "bias": "ap_fixed<8,4>",
            "accum": narrow,
            "result": "ap_fixed<20,11>",
        },
        "relu1": {"result": hidden},
        "dense2": {"weight": "ap_fixed<12,4>", "bias": nothing, "accum": narrow, "result": narrow},
        "outputs": {"result": "ap_ufixed<16,8,AP_RND_CONV,AP_SAT>"},
    }.items():
        config["LayerName"][name]["Precision"] = types
    for name in ("conv", "dense1"):  # as released, but for dense1: stores weights transposed
        config["LayerName"][name]["Strategy"] = "Resource"
    made = hls4ml.converters.convert_from_keras_model(
        model,
        hls_config=config,
        output_dir=str(tmp_path_factory.mktemp("hls4ml")),
        backend="Vitis",
        io_type="io_parallel",
        part="xc7vx690tffg1927-2",
    )
    made.write()
    return made


@pytest.fixture
def release(project, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    """The release of that student: the files that describe it."""
    firmware = Path(project.config.get_output_dir()) / "firmware"
    folder = tmp_path / "CICADA_v0p0p0"
    shutil.copytree(firmware, folder, ignore=shutil.ignore_patterns("nnet_utils", "ap_types", "*.so"))
    return folder


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ to run hls4ml's C++")
def test_a_release_is_what_its_firmware_computes(project, release: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    hot = rng.integers(0, 1024, (500, 18, 14)) * (rng.random((500, 18, 14)) < 0.2)
    events = np.concatenate([hot, rng.integers(0, 6, (500, 18, 14))]).astype(np.uint16)
    network = read_deployed(release)
    assert sum(isinstance(s, Quantize) and s.overflow == "WRAP" for s in network.steps) == 2  # input, dense1
    scores = network.predict(events)
    assert len(np.unique(scores)) > 100
    project.compile()
    theirs = project.predict(events.reshape(-1, 18, 14, 1).astype(np.float32)).reshape(-1)
    assert (scores == theirs).all()


def test_a_folder_and_an_archive_of_the_same_weights(release: Path, tmp_path: Path) -> None:
    replace(release / "defines.h", "ap_fixed<20,11>", "ap_fixed<26,14>")
    np.savez(tmp_path / "weights.npz", **released_weights())
    assert read_deployed(release).digest() == read_deployed(tmp_path / "weights.npz").digest()


def test_weights_are_read_from_headers_where_there_is_no_text(release: Path) -> None:
    whole = read_deployed(release).digest()
    for file in (release / "weights").glob("*.txt"):
        file.unlink()
    assert read_deployed(release).digest() == whole


def test_a_student_without_convolution(tmp_path: Path) -> None:
    weights = released_weights()
    del weights["conv"]
    np.savez(tmp_path / "v1.npz", **weights)
    network = read_deployed(tmp_path / "v1.npz")
    events = np.random.default_rng(1).integers(0, 40, (50, 18, 14)).astype(np.uint16)
    hidden = np.clip(events.reshape(50, -1) @ weights["dense1"] + weights["dense1_bias"], 0, None)
    hidden = np.minimum(np.rint(hidden * 16) / 16, 64 - 1 / 16)
    scores = np.clip(np.rint(hidden @ weights["dense2"] * 256) / 256, 0, 256 - 1 / 256)[:, 0]
    assert (network.predict(events) == scores).all()


def test_normalization_is_a_product_with_what_the_compiler_makes_of_its_scale(tmp_path: Path) -> None:
    folder = tmp_path / "CICADA_v1"
    (folder / "weights").mkdir(parents=True)
    (folder / "defines.h").write_text(
        "#define N_LAYER_2 1\n"
        + "".join(
            f"typedef {spelling} {name};\n"
            for name, spelling in {
                "input_t": "ap_uint<10>",
                "sum_t": "ap_fixed<20,20>",
                "weight_t": "ap_int<2>",
                "bias_t": "ap_uint<1>",
                "scale_t": "ap_fixed<6,1>",
                "result_t": "ap_ufixed<16, 8, AP_RND, AP_SAT, AP_SAT>",
            }.items()
        )
    )
    (folder / "parameters.h").write_text(
        "struct config2 : nnet::dense_config {\n static const unsigned n_in = 252;\n"
        " static const unsigned n_out = N_LAYER_2;\n static const unsigned strategy = nnet::latency;\n"
        " typedef sum_t accum_t;\n typedef bias_t bias_t;\n typedef weight_t weight_t;\n};\n"
        "struct config3 : nnet::batchnorm_config {\n static const unsigned n_in = N_LAYER_2;\n"
        " typedef bias_t bias_t;\n typedef scale_t scale_t;\n};\n"
        "struct config4 : nnet::activ_config {\n static const unsigned n_in = 1;\n};\n"
    )
    (folder / "cicada.cpp").write_text(
        "void cicada(input_t in[252], result_t out[1]) {\n"
        " nnet::dense<input_t, sum_t, config2>(in, a, w2, b2); // dense\n"
        " nnet::normalize<sum_t, sum_t, config3>(a, b, s3, b3);\n"
        " nnet::relu<sum_t, result_t, config4>(b, out);\n}\n"
    )
    (folder / "weights" / "w2.txt").write_text(", ".join(["1"] * 252))
    for name, value in {"b2": "0", "s3": "0.51", "b3": "1"}.items():
        (folder / "weights" / f"{name}.txt").write_text(value)
    events = np.zeros((3, 18, 14), np.uint16)
    events[:, 0, 0] = [0, 7, 100]
    # 0.51 is cut to 0.5; the sum is cast to an integer by truncation, 4.5 -> 4.
    assert list(read_deployed(folder).predict(events)) == [1, 4, 51]


# ---- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "expected"),
    {
        "ap_fixed<30,22>": (True, 30, 22, "TRN", "WRAP"),
        "ap_ufixed< 10, 6, AP_RND_CONV, AP_SAT >": (False, 10, 6, "RND_CONV", "SAT"),
        "ap_ufixed<10,4,AP_RND,AP_SAT,AP_SAT>": (False, 10, 4, "RND", "SAT"),
        "ap_fixed<16,-2,AP_TRN,AP_SAT_SYM,0>": (True, 16, -2, "TRN", "SAT_SYM"),
        "ap_uint<10>": (False, 10, 10, "TRN", "WRAP"),
        "ap_int<4>": (True, 4, 4, "TRN", "WRAP"),
    }.items(),
)
def test_types(spelling: str, expected: tuple[bool, int, int, str, str]) -> None:
    kind = parse_type("t", spelling)
    assert (kind.signed, kind.width, kind.integer, kind.rounding, kind.overflow) == expected
    assert kind.quantize()(np.array([kind.low, kind.high])).tolist() == [kind.low, kind.high]


@pytest.mark.parametrize(
    "spelling",
    [
        "float",
        "ap_fixed<16>",
        "ap_fixed<16,6,AP_RND_ZERO>",
        "ap_fixed<16,6,AP_RND,AP_WRAP_SM>",
        "ap_fixed<16,6,AP_RND,AP_WRAP,3>",
        "ap_fixed<W,6>",
        "ap_fixed<0,6>",
        "ap_int<4,2>",
        "ap_int<>",
        "nnet::array<ap_fixed<16,6>, 4*1>",
    ],
)
def test_types_that_are_none(spelling: str) -> None:
    with pytest.raises(DataError, match=r"^type t: "):
        parse_type("t", spelling)


# ---- bad input ----------------------------------------------------------------------------------


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_deployed(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_there_is_nothing(tmp_path: Path) -> None:
    assert "there is no such folder or file" in refused(tmp_path / "CICADA_v9")
    (tmp_path / "a.txt").write_text("")
    assert "neither a release's folder nor an .npz" in refused(tmp_path / "a.txt")
    assert "defines.h: cannot be read (No such file" in refused(tmp_path)


# File, what is replaced in it (None: all of it) and by what, and what is said.
DAMAGES = {
    "a weight too few": ("weights/b5.txt", None, ", ".join(["0"] * 15), "holds 15 values, 16 are expected"),
    "a word": ("weights/b5.txt", None, "1.0, nonsense", "'nonsense' is no number; expected 16"),
    "an infinity": ("weights/b5.txt", None, ", ".join(["inf"] * 16), "not finite"),
    "another type's weight": (
        "weights/b5.txt",
        None,
        ", ".join(["0"] * 15 + ["0.03"]),
        "value 16 of 16, 0.03, is not a value of dense1_bias_t (signed, 8 bits, 4 of them integer)",
    ),
    "no text": ("weights/b5.txt", None, "\udcff", "is not text"),
    "no type": (
        "defines.h",
        "ap_fixed<30,22> conv_a",
        "half conv_a",
        "type conv_accum_t: cannot read 'half'",
    ),
    "a type missing": ("defines.h", "conv_accum_t;", "accum_t;", "type conv_accum_t is not defined"),
    "signed input": ("defines.h", "ap_uint<10> in", "ap_fixed<12,12> in", "must hold 10 bits without a sign"),
    "an accumulator that cuts": (
        "defines.h",
        "ap_fixed<26,14> dense1_accum_t",
        "ap_fixed<20,14> dense1_accum_t",
        "products have 10 fractional bits, its accumulator dense1_accum_t keeps 6",
    ),
    "one that saturates": (
        "defines.h",
        "<30,22> conv_a",
        "<30,22,AP_TRN,AP_SAT> conv_a",
        "keeps 8 and saturates",
    ),
    "no layers": (
        "myproject.cpp",
        None,
        "int main() {}",
        "one .cpp file must call hls4ml's layers (nnet::…)",
    ),
    "a call like no layer's": (
        "myproject.cpp",
        "nnet::relu<layer7_t, result_t, relu_config8>",
        "nnet::relu",
        "cannot read 'nnet::relu(",
    ),
    "an unknown layer": (
        "myproject.cpp",
        "dense<layer6",
        "einsum<layer6",
        "einsum of config7: is not known here",
    ),
    "no chain": (
        "myproject.cpp",
        "(layer6_out, l",
        "(layer3_out, l",
        "takes layer3_out, expected layer6_out",
    ),
    "no configuration": ("parameters.h", "struct config5 ", "struct config6 ", "there is no struct config5"),
    "padding": ("parameters.h", "pad_top = 0", "pad_top = 1", "only convolutions without padding"),
    "a size": (
        "parameters.h",
        "n_in = 252;\n    static const unsigned n_o",
        "n_in = 9;\n    static const unsigned n_o",
        "takes 9 values, here are 252",
    ),
    "an image": (
        "parameters.h",
        "in_width = 14",
        "in_width = 18",
        "takes an image (18, 18, 1), here it is (18, 14, 1)",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_release(release: Path, damage: str) -> None:
    name, old, new, expected = DAMAGES[damage]
    file = release / name
    if old is None:
        file.write_bytes(new.encode(errors="surrogateescape"))
    else:
        replace(file, old, new)
    message = refused(release)
    assert expected in message
    assert message.startswith(str(release))


def test_a_release_without_some_of_its_weights(release: Path) -> None:
    for file in (release / "weights").glob("w2.*"):
        file.unlink()
    assert "weights/w2.txt: is missing, and so is w2.h" in refused(release)


def test_a_release_of_more_than_one_score(release: Path) -> None:
    file = release / "myproject.cpp"
    kept = [line for line in file.read_text().splitlines() if not re.search("config[78]", line)]
    file.write_text("\n".join(kept))
    assert "a student gives one score" in refused(release)


@pytest.mark.parametrize(
    ("change", "expected"),
    {
        "no dense2": ({"dense2": None}, "has no array dense2"),
        "shape": ({"dense2": np.zeros((15, 1))}, "dense2 is float64 (15, 1), numbers (16, 1) are expected"),
        "text": ({"dense2": np.full((16, 1), "a")}, "numbers (16, 1) are expected"),
        "value": ({"conv": np.full((2, 2, 1, 4), 0.3)}, "conv: value 1 of 16, 0.3, is not a value of conv_t"),
        "nan": (
            {"conv": np.full((2, 2, 1, 4), np.nan)},
            "conv: value 1 of 16, nan, is not a value of conv_t",
        ),
    }.values(),
)
def test_a_bad_archive(tmp_path: Path, change: Arrays, expected: str) -> None:
    arrays = {name: a for name, a in (released_weights() | change).items() if a is not None}
    np.savez(tmp_path / "w.npz", **arrays)
    assert expected in refused(tmp_path / "w.npz")


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_bytes(b"PK\x03\x04 nothing")
    assert "is no archive of arrays" in refused(tmp_path / "w.npz")
    np.savez(tmp_path / "o.npz", conv=np.array([{}], dtype=object))
    assert "is no archive of arrays" in refused(tmp_path / "o.npz")
