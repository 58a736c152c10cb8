"""The form `cmssw`: an emulator package as those of cms-hls4ml/CICADA, and a host that loads it.

    cmssw/CICADA_v0p0p42/     the package: Makefile, arithmetic, wrapper; all that CMSSW needs
    cmssw/check/              a host, the interface with the signatures of hls4mlEmulatorExtras, ap_types

CMSSW holds all versions of a package in one process, so nothing of ours is seen outside of a library but
`create_model` and `destroy_model`, which are looked up in the library itself.
"""

import importlib.resources
import re
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np

from objectives.costs.emulator import score_function
from objectives.costs.score_port import REGION_BITS, REGIONS, SCORE_FRACTION, SCORE_WIDTH
from sweep.errors import ExportError
from sweep.export.form import Answer, Form, FormName, Source
from sweep.export.tools import compiler, copy_files, make, run, version_of
from sweep.export.vectors import Vectors

CHECK = "check"
_VERSION = re.compile(r"\d{1,4}\.\d{1,4}\.\d{1,9}")


def package_name(version: str) -> str:
    """Return CICADA_v1p2p3 for 1.2.3; raises ExportError for what is no version."""
    if not _VERSION.fullmatch(version):
        raise ExportError(f"--emulator-version {version!r}: expected three numbers, such as 2.2.0")
    return "CICADA_v" + version.replace(".", "p")


class CmsswForm(Form):
    """C++ of the adder graph behind the interface of CMSSW's emulators."""

    name: ClassVar[FormName] = "cmssw"

    def write(self, source: Source, folder: Path) -> None:
        name = package_name(source.version)
        package = folder / name
        package.mkdir()
        (package / "Makefile").write_text(_makefile(name))
        (package / "exports.map").write_text(_EXPORTS)
        (package / "cicada.h").write_text(_header(name))
        (package / "cicada.cpp").write_text(_arithmetic(name, score_function(source.logic, "raw_score")))
        (package / f"{name}.cpp").write_text(_wrapper(name))
        check = folder / CHECK
        check.mkdir()
        (check / "emulator.h").write_text(_INTERFACE)
        (check / "host.cpp").write_text(_HOST)
        types = importlib.resources.files("alkaid") / "codegen/hls/source/ap_types/include"
        with importlib.resources.as_file(types) as headers:
            shutil.copytree(headers, check / "ap_types")

    def answer(self, folder: Path, scheme: str, vectors: Vectors, scratch: Path) -> Answer:
        library = build_library(folder, scratch)
        build_host(scratch)
        np.ascontiguousarray(vectors.regions, "<u2").tofile(scratch / "events.bin")
        run(("./host", "events.bin", f"./{library}", "scores.bin"), scratch, "emulator")
        scores = np.fromfile(scratch / "scores.bin", "<u2").astype(np.uint16)
        return Answer(scores, {"c++": version_of(compiler())})


def build_library(folder: Path, scratch: Path) -> str:
    """Build the emulator of an exported folder as CMSSW's build does, and return the library's name."""
    cxx, program = compiler(), make()
    found = sorted(path for path in folder.glob("CICADA_v*") if path.is_dir())
    if len(found) != 1:
        raise ExportError(f"{folder}: expected one package CICADA_v…, found {len(found)}")
    [package] = found
    copy_files(package, scratch / package.name)
    copy_files(folder / CHECK, scratch / CHECK)
    includes = f"INCLUDES=-I../{CHECK} -I../{CHECK}/ap_types"
    run((program, f"CXX={cxx}", includes), scratch / package.name, "emulator library")
    library = f"{package.name.replace('CICADA_', 'CICADAModel_')}.so"
    return f"{package.name}/{library}"


def build_host(scratch: Path) -> None:
    """Build the program `host` in `scratch`, where a library has been built."""
    include = ("-I", CHECK, "-I", f"{CHECK}/ap_types")
    options = ("-std=c++17", "-O1", "-w", *include, f"{CHECK}/host.cpp", "-ldl", "-o", "host")
    run((compiler(), *options), scratch, "host")


# ---- the package ---------------------------------------------------------------------------------


def _makefile(name: str) -> str:
    library = f"{name.replace('CICADA_', 'CICADAModel_')}.so"
    return f"""\
# CMSSW's build gives CXX, CXXFLAGS, INCLUDES (of ap_types and hls4mlEmulatorExtras) and LD_FLAGS.
.PHONY: clean

# Two versions are loaded into one process: no symbol of one may be seen by the other.
OWN_FLAGS = -std=c++17 -fPIC -fvisibility=hidden -fvisibility-inlines-hidden
CXXFLAGS ?= -O2

{library}: cicada.o {name}.o exports.map
\t$(CXX) $(CXXFLAGS) $(LD_FLAGS) -shared cicada.o {name}.o -Wl,--version-script=exports.map -o $@

%.o: %.cpp cicada.h
\t$(CXX) $(CXXFLAGS) $(OWN_FLAGS) $(INCLUDES) -c $< -o $@

clean:
\trm -f {library} cicada.o {name}.o
"""


def _header(name: str) -> str:
    return f"""\
#ifndef {name}_cicada_h
#define {name}_cicada_h

#include "ap_fixed.h"
#include "ap_int.h"

namespace {name} {{

constexpr int N_REGIONS = {REGIONS};
// A region is a whole number of 0.5 GeV; regions[14 * phi + eta].
typedef ap_uint<{REGION_BITS}> input_t;
typedef ap_ufixed<{SCORE_WIDTH}, {SCORE_WIDTH - SCORE_FRACTION}, AP_RND_CONV, AP_SAT> result_t;

result_t cicada(const input_t (&regions)[N_REGIONS]);

}}  // namespace {name}

#endif
"""


def _arithmetic(name: str, function: str) -> str:
    return f"""\
// The adder graph of the student, in whole numbers: each value counts its own smallest step.
#include <cstdint>

#include "cicada.h"

namespace {name} {{
namespace {{

{function}
}}  // namespace

result_t cicada(const input_t (&regions)[N_REGIONS]) {{
    std::uint16_t counts[N_REGIONS];
    for (int region = 0; region < N_REGIONS; ++region) counts[region] = regions[region].to_uint();
    result_t score;
    score.range({SCORE_WIDTH - 1}, 0) = raw_score(counts);
    return score;
}}

}}  // namespace {name}
"""


def _wrapper(name: str) -> str:
    return f"""\
#include <any>

#include "cicada.h"
#include "emulator.h"

namespace {name} {{

class Model : public hls4mlEmulator::Model {{
public:
    // Holds a pointer to the first of {REGIONS} regions.
    virtual void prepare_input(std::any input) {{
        const input_t *regions = std::any_cast<input_t *>(input);
        for (int region = 0; region < N_REGIONS; ++region) regions_[region] = regions[region];
    }}

    virtual void predict() {{ score_ = cicada(regions_); }}

    // Holds a pointer to where the score goes.
    virtual void read_result(std::any result) {{ *std::any_cast<result_t *>(result) = score_; }}

private:
    input_t regions_[N_REGIONS];
    result_t score_;
}};

}}  // namespace {name}

#define SEEN __attribute__((visibility("default")))

extern "C" SEEN hls4mlEmulator::Model *create_model() {{ return new {name}::Model; }}

extern "C" SEEN void destroy_model(hls4mlEmulator::Model *model) {{ delete model; }}
"""


#: What a library shows; even the standard library's templates stay inside.
_EXPORTS = """\
{
    global: create_model; destroy_model;
    local: *;
};
"""

# ---- what it is checked with ---------------------------------------------------------------------

_INTERFACE = """\
// The interface that CMSSW loads emulators by. In CMSSW it comes from hls4mlEmulatorExtras; this one has
// the same virtual functions in the same order, and is here so that a package can be built without CMSSW.
#ifndef cicada_check_emulator_h
#define cicada_check_emulator_h

#include <any>

namespace hls4mlEmulator {

class Model {
public:
    virtual void prepare_input(std::any input) = 0;
    virtual void predict() = 0;
    virtual void read_result(std::any result) = 0;
    virtual ~Model() = default;
};

}  // namespace hls4mlEmulator

#endif
"""

_HOST = f"""\
// Loads emulators as CMSSW does, all of them at once, and scores every event with each in turn:
//   host EVENTS LIBRARY SCORES [LIBRARY SCORES ...]
// An event is {REGIONS} regions of 16 bits each; a score is 16 bits, in steps of 1/{2**SCORE_FRACTION}.
#include <dlfcn.h>

#include <any>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "ap_fixed.h"
#include "ap_int.h"
#include "emulator.h"

typedef ap_uint<{REGION_BITS}> input_t;
typedef ap_ufixed<{SCORE_WIDTH}, {SCORE_WIDTH - SCORE_FRACTION}, AP_RND_CONV, AP_SAT> result_t;

struct Loaded {{
    void *library;
    hls4mlEmulator::Model *model;
    std::FILE *scores;
}};

int main(int argc, char **argv) {{
    if (argc < 4 || argc % 2 != 0) return 2;
    std::FILE *events = std::fopen(argv[1], "rb");
    if (events == nullptr) return 2;
    std::vector<Loaded> all;
    for (int at = 2; at < argc; at += 2) {{
        // The worst case: what a library shows, all that are loaded later would take from it.
        void *library = dlopen(argv[at], RTLD_NOW | RTLD_GLOBAL);
        if (library == nullptr) {{
            std::fprintf(stderr, "error: %s\\n", dlerror());
            return 1;
        }}
        auto *create = reinterpret_cast<hls4mlEmulator::Model *(*)()>(dlsym(library, "create_model"));
        std::FILE *scores = std::fopen(argv[at + 1], "wb");
        if (create == nullptr || scores == nullptr) return 1;
        all.push_back({{library, create(), scores}});
    }}
    std::uint16_t counts[{REGIONS}];
    input_t regions[{REGIONS}];
    while (std::fread(counts, sizeof counts, 1, events) == 1) {{
        for (int region = 0; region < {REGIONS}; ++region) regions[region] = counts[region];
        for (Loaded &each : all) {{
            result_t score;
            each.model->prepare_input(std::any(static_cast<input_t *>(regions)));
            each.model->predict();
            each.model->read_result(std::any(&score));
            const std::uint16_t raw = score.range({SCORE_WIDTH - 1}, 0).to_uint();
            if (std::fwrite(&raw, sizeof raw, 1, each.scores) != 1) return 1;
        }}
    }}
    for (Loaded &each : all) {{
        auto *destroy =
            reinterpret_cast<void (*)(hls4mlEmulator::Model *)>(dlsym(each.library, "destroy_model"));
        if (destroy == nullptr) return 1;
        destroy(each.model);
        if (std::fclose(each.scores) != 0 || dlclose(each.library) != 0) return 1;
    }}
    return 0;
}}
"""
