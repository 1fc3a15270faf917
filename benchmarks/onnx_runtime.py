"""Are trunks faster under ONNX Runtime, or with weights of 8 bits? Each is timed on one batch, and compared.

A trunk is exported as it is fed: vectors of events, a mask, and days; both read 16,384 events at once, as scoring does,
and one history alone, as an answer about one customer does. A ratio above one is for torch's float32.

    pip install onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0
    python benchmarks/onnx_runtime.py
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from valuecast.config.learning import Architecture
from valuecast.models.finetuned import BATCH_EVENTS
from valuecast.models.trunks import SIZES, Trunk

TIMES = 7
"""The fastest counts."""
NAMES = ("vectors", "mask", "days")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sizes", nargs="+", default=["tiny", "small"])
    asked.add_argument("--trunks", nargs="+", default=["llama", "gru", "bert"])
    given = asked.parse_args()
    warnings.filterwarnings("ignore")
    print("| trunk | size | events | torch, ms | ONNX | ratio | int8 | ratio | largest difference: ONNX | int8 |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in given.trunks:
        for size in given.sizes:
            measure(name, size)


def measure(name: Any, size: Any) -> None:
    trunk = Trunk(Architecture(name, size)).eval()
    length = SIZES[size].length
    with TemporaryDirectory() as place, torch.inference_mode():
        session = exported(trunk, given(size, rows=4), Path(place) / "trunk.onnx")
        small = torch.ao.quantization.quantize_dynamic(trunk, {nn.Linear, nn.GRU}, dtype=torch.qint8)
        for rows in (BATCH_EVENTS // length, 1):
            batch = given(size, rows=rows)
            taken = {each.name for each in session.get_inputs()}
            feed = {key: value.numpy() for key, value in zip(NAMES, batch, strict=True) if key in taken}
            expected = trunk(*batch).numpy()
            real = batch[1].bool().numpy()
            apart = [
                np.abs(each - expected)[real].max() for each in (session.run(None, feed)[0], small(*batch).numpy())
            ]
            plain = fastest(partial(trunk, *batch))
            onnx = fastest(partial(session.run, None, feed))
            int8 = fastest(partial(small, *batch))
            told = [f"{plain:.1f}", f"{onnx:.1f}", f"{plain / onnx:.2f}", f"{int8:.1f}", f"{plain / int8:.2f}"]
            print(
                f"| {name} | {size} | {rows * length:,} | {' | '.join(told)} | {apart[0]:.1e} | {apart[1]:.1e} |",
                flush=True,
            )


def given(size: Any, *, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    length = SIZES[size].length
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[0, length // 2 :] = 0
    days = (torch.rand(rows, length, generator=draw) * 10).cumsum(1)
    return torch.randn(rows, length, SIZES[size].hidden, generator=draw), mask, days


def exported(trunk: Trunk, batch: tuple[Tensor, Tensor, Tensor], path: Path) -> onnxruntime.InferenceSession:
    class Fed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = trunk

        def forward(self, vectors: Tensor, mask: Tensor, days: Tensor) -> Tensor:
            states: Tensor = self.trunk(vectors, mask, days)
            return states

    sizes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("length")}
    program = torch.onnx.export(
        Fed(), batch, dynamo=True, dynamic_shapes=dict.fromkeys(NAMES, sizes), input_names=list(NAMES), verbose=False
    )
    if program is None:
        raise RuntimeError("the exporter made no program")
    program.save(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def fastest(do: Callable[[], Any]) -> float:
    """Milliseconds."""
    do()
    found = []
    for _ in range(TIMES):
        begun = time.perf_counter()
        do()
        found.append(time.perf_counter() - begun)
    return 1000 * min(found)


if __name__ == "__main__":
    main()
