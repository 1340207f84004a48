"""Mutation testing of the kernels: insert one fault at a time and report the faults that no test detects.

    python native/tests/mutate.py [--only WORD]

Each fault is one replacement in one file. The kernels are built with it (only for SSE2, lightly optimized), and the
tests of the file are run: a fault that no test detects survives. This takes about twenty seconds per fault.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Fault:
    file: str
    right: str
    wrong: str


FAULTS = [
    # forward
    Fault("forward.h", "multiply<NV>(acc, n_rows, s.a + i, 0, 1, s.w_ih", "if (i) multiply<NV>(acc, n_rows, s.a + i, 0, 1, s.w_ih"),
    Fault("forward.h", "new_h + z * (h - new_h)", "new_h - z * (h - new_h)"),
    Fault("forward.h", "new_h + z * (h - new_h)", "h + z * (new_h - h)"),
    Fault("forward.h", "load(record + 2 * W) + r * from_state", "load(record + 2 * W) + z * from_state"),
    Fault("forward.h", "load(record + 2 * W) + r * from_state", "load(record + 2 * W) + from_state"),
    Fault("forward.h", "f * load_n(lines[m].c_before + in_c_before, n) + i * g", "f * load_n(lines[m].c_before + in_c_before, n) + f * g"),
    Fault("forward.h", "f * load_n(lines[m].c_before + in_c_before, n) + i * g", "i * load_n(lines[m].c_before + in_c_before, n) + i * g"),
    Fault("forward.h", "store_n(y, o * tanh_of(c), n);", "store_n(y, o * c, n);"),
    Fault("forward.h", "store(record + W, z);", "store(record + W, r);"),
    Fault("forward.h", "store(record + 3 * W, o);", "store(record + 3 * W, g);"),
    Fault("forward.h", "apart ? from_x : from_x + from_h", "apart ? from_x : from_x"),
    Fault("forward.h", "if (apart) store(s.state_bias + unit, from_h);", "if (apart) store(s.state_bias + unit, from_x);"),
    Fault("forward.h", "length ? place.y(length - 1, j)", "length ? place.y(0, j)"),
    Fault("forward.h", "length ? place.y(length - 1, j) : r.h0 + b * H", "length ? place.y(length - 1, j) : nullptr"),
    Fault("forward.h", "place.number(length - 1, j) * s.product_stride", "place.number(0, j) * s.product_stride"),
    Fault("forward.h", "clear_padding(r, r.y, H, member, team.size);", ""),
    Fault("forward.h", "place.number(step - 1, j) * s.product_stride + 4 * W", "place.number(step, j) * s.product_stride + 4 * W"),
    Fault("cells.h", "r.reverse ? r.plan.lengths[row] - 1 - s : s", "r.reverse ? r.T - 1 - s : s"),
    Fault("cells.h", "r.reverse ? r.plan.lengths[row] - 1 - s : s", "s"),
    Fault("cells.h", "s ? r.y.at(time(s - 1, b), b)", "s ? r.y.at(time(s, b), b)"),
    Fault("cells.h", "larger(0, ceil_div(active - start, stride))", "larger(0, ceil_div(r.B - start, stride))"),
    Fault("cells.h", "const long active = s < r.plan.n_steps ? r.plan.active[s] : 0;", "const long active = s < r.plan.n_steps ? r.plan.active[0] : 0;"),
    # the product and its packing
    Fault("gemm.h", "for (; k < K; k++)", "for (; k < K - 1; k++)"),
    Fault("gemm.h", "a[m] += (end - k) * a_step;", ""),
    Fault("gemm.h", "j < n_rows ? load_n", "j < n_rows - 1 ? load_n"),
    Fault("gemm.h", "i < W && i < n_columns", "i < W && i < n_columns - 1"),
    # backward
    Fault("backward.h", "dh * (one - y * y)", "dh * (one + y * y)"),
    Fault("backward.h", "y <= Vec{} ? Vec{} : dh", "dh"),
    Fault("backward.h", "if (!is_last) dh += load(carry);", ""),
    Fault("backward.h", "store(carry, dh * z);", "store(carry, dh * (one - z));"),
    Fault("backward.h", "d_new * from_state * r * (one - r)", "d_new * from_state * r"),
    Fault("backward.h", "dh * (h - new_h) * z * (one - z)", "dh * (new_h - h) * z * (one - z)"),
    Fault("backward.h", "store(gates + 3 * padded, d_new * r);", "store(gates + 3 * padded, d_new);"),
    Fault("backward.h", "if (!is_last) dc += load(carry);", "if (is_last) dc += load(carry);"),
    Fault("backward.h", "else if (line.dc_end) dc += load_n(line.dc_end + unit, n);", ""),
    Fault("backward.h", "store(carry, dc * f);", "store(carry, dc * i);"),
    Fault("backward.h", "dc * g * i * (one - i)", "dc * i * (one - i)"),
    Fault("backward.h", "dc * i * (one - g * g)", "dc * i * (one - g)"),
    Fault("backward.h", "dh * tanh_c * o * (one - o)", "dh * o * (one - o)"),
    Fault("backward.h", "if (line.dh_end) whole += load_n(line.dh_end + at, left);", ""),
    Fault("backward.h", "is_last && r.dh_end ?", "r.dh_end ?"),
    Fault("backward.h", "is_last && r.dc_end ?", "!is_last && r.dc_end ?"),
    Fault("backward.h", "is_first ? acc[m][v] : acc[m][v] + load_n(to, left)", "acc[m][v]"),
    Fault("backward.h", "if (cell == GRU && of_state && gate >= 2) gate = gate == 3 ? 2 : -1;", ""),
    Fault("backward.h", "if (CELL == GRU) acc[m][v] += load(s.carry + j * padded + at);", ""),
    Fault("backward.h", "copy_row(r.dh0 + b * H, r.dh_end ? r.dh_end + b * H : nullptr, H);", "copy_row(r.dh0 + b * H, nullptr, H);"),
    Fault("backward.h", "else copy_row(r.dc0 + b * H, s.carry + j * padded, H);", "else copy_row(r.dc0 + b * H, nullptr, H);"),
    Fault("backward.h", "clear_padding(r, r.dx, r.D, member, team.size);", ""),
    Fault("backward.h", "s.bias[state_block(CELL, gate) * padded + i]", "s.bias[gate * padded + i]"),
    Fault("backward.h", "side ^= 1", "side ^= 0"),
    Fault("engine.cpp", "lengths_[order_[n_active - 1]] <= step", "lengths_[order_[n_active - 1]] < step"),
    Fault("softmax_block.h", "exp = exp_below(logit - load(most + m))", "exp = exp_below(load(most + m) - logit)"),
    Fault("softmax_block.h", "exp_below(load(most + m) - now)", "exp_below(before - now)"),
    Fault("softmax_block.h", "sum += load(softmax.row_sum + its) * exp_below(load(softmax.row_largest + its) - most)", "sum += load(softmax.row_sum + its)"),
    Fault("softmax_block.h", "(softmax.row_largest[m] - softmax.right[m])", "(softmax.right[m] - softmax.row_largest[m])"),
    Fault("softmax_block.h", "e.smoothing * even", "e.smoothing * -even"),
    Fault("cross_entropy.h", "load(at) * load(s.scale + m) - even", "load(at) * load(s.scale + m)"),
    Fault("cross_entropy.h", "-= 1.f - e.smoothing", "-= 1.f"),
    Fault("softmax_block.h", "word < end_word; word += size", "word + 1 < end_word; word += size"),
    Fault("cross_entropy.h", "first ? load_n(to, e.H - at) + acc[m][v] : acc[m][v]", "acc[m][v]"),
    Fault("softmax_block.h", "first ? e.d_bias[word] + total : total", "total"),
    Fault("cross_entropy.h", "if (word != first_word)", "if (word == first_word)"),
    Fault("cross_entropy.h", "n_rows - m);", "W);"),
    Fault("softmax_block.h", "at_least(splat(-FLT_MAX), load(chunk + m))", "load(chunk + m)"),
    Fault("cross_entropy.h", "e.bias && m < n ? e.bias[word + i + m]", "e.bias && m < n ? e.bias[word + i]"),
    Fault("softmax_block.h", "(other * part_rows + m)", "(member * part_rows + m)"),
    # counting
    Fault("counting.h", "n += before == 0;", "n++;"),
    Fault("counting.h", "if (n * 8 > scratch.V) {", "if (n * 8 <= scratch.V) {"),
    Fault("counting.h", "if (n * 8 > scratch.V) {", "if (true) {"),
    Fault("counting.h", "at += sum != 0;", "at++;"),
    Fault("counting.h", "at += sum != 0;\n        sums[c] = 0;", "at += sum != 0;"),
    Fault("counting.h", "1ull << (c & 63)", "1ull << (c & 31)"),
    Fault("counting.h", "1ull << (c >> 6 & 63)", "1ull << (c >> 6 & 31)"),
    Fault("counting.h", "group <= scratch.V >> 12", "group < scratch.V >> 12"),
    Fault("counting.h", "group * 64 + __builtin_ctzll(words)", "group * 32 + __builtin_ctzll(words)"),
    Fault("counting.h", "values[at++] = (Value)sums[c];\n          sums[c] = 0;", "values[at++] = (Value)sums[c];"),
    Fault("counting.h", "scratch.bits[word] = 0;", ""),
    Fault("counting.h", "scratch.groups[group] = 0;", ""),
    Fault("counting.h", "if (*place >= call.first) {", "if (true) {"),
    Fault("counting.h", "if (*place >= call.first) {", "if (*place > call.first) {"),
    Fault("counting.h", "d <= call.window && token[-d] >= 0", "d < call.window && token[-d] >= 0"),
    Fault("counting.h", "token[-d] >= 0; d++", "d < 1000; d++"),
    Fault("counting.h", "row.add(token[-d], weights[d])", "row.add(token[-d], weights[1])"),
    Fault("counting.h", "nearest = call.first - *place;", ""),
    Fault("counting.h", "nearest = call.first - *place;", "nearest = call.first - *place + 1;"),
    Fault("counting.h", "if (!call.both_sides) continue;", ""),
    Fault("counting.h", "d <= call.window && token[d] >= 0", "d < call.window && token[d] >= 0"),
    Fault("counting.h", "if (d >= nearest) row.add(token[d], weights[d])", "row.add(token[d], weights[d])"),
    Fault("counting.h", "<= call.most_narrow)", "> call.most_narrow)"),
    Fault("counting.h", "<= call.most_narrow)", "> 0)"),
    Fault("counting.h", "task.sizes[word - task.from] = at - before;", "task.sizes[word - task.from] = at;"),
    Fault("counting.h", "matrix.ends[word - first_row]", "matrix.ends[word - task.from]"),
    Fault("counting.h", "i < call.n_matrices", "i < call.n_matrices - 1"),
    Fault("counting.h", "if (call.is_wide) return merge_rows_of<WideSum>", "if (call.is_wide) return merge_rows_of<uint64_t>"),
    # words and pairs
    Fault("vector_engine.cpp", "byte >= '\\t' && byte <= '\\r'", "byte == '\\t' || byte == '\\n'"),
    Fault("vector_engine.cpp", "&& !ends_in_border_) {", ") {"),
    Fault("vector_engine.cpp", "ends_in_border_ = false;", ""),
    Fault("vector_engine.cpp", "if (slot.hash != hash) continue;", "if (slot.hash == hash) return slot.id;"),
    Fault("vector_engine.cpp", "counts_[(size_t)slot.id]++;", ""),
    Fault("vector_engine.cpp", "if (2 * counts_.size() > slots_.size()) grow();", "if (counts_.size() + 1 >= slots_.size()) throw std::bad_alloc();"),
    Fault("vector_engine.cpp", "while (slots_[place].id >= 0) place = (place + 1) & mask;", ""),
    Fault("vector_engine.cpp", "if (!ends_in_border) *next++ = BORDER;", "*next++ = BORDER;"),
    Fault("vector_engine.cpp", "if (words[k] >= 0) {", "{"),
    Fault("vector_engine.cpp", "starts[tokens[i] + 1]++", "starts[tokens[i]]++"),
    Fault("vector_engine.cpp", "group % n_members != member", "word % n_members != member"),
    Fault("vector_engine.cpp", "word / rows.n_groups, k);", "word % rows.n_groups, k);"),
    Fault("vector_engine.cpp", "rows.columns[k] % rows.n_groups", "rows.columns[k] / rows.n_groups"),
    Fault("vector_engine.cpp", "(uint16_t)(rows.columns[k] / rows.n_groups)", "(uint16_t)(rows.columns[k] % rows.n_groups)"),
    Fault("vector_engine.cpp", "rows.weights[k],\n                            rows.log_counts[k]", "rows.log_counts[k], rows.weights[k]"),
    # GloVe
    Fault("glove.h", "(g.size + W - 1) / W", "g.size / W"),
    Fault("glove.h", "half * y * y + three_halves);\n}", "three_halves);\n}"),
    Fault("glove.h", "_mm_shuffle_ps(two, two, 1)", "two"),
    Fault("glove.h", "block.row_group * g.n_in_group", "block.column_group * g.n_in_group"),
    Fault("glove.h", "pair < end && pair->row == i", "pair < end"),
    Fault("glove.h", "+ bias + c_bias - pair->log_count", "+ bias - pair->log_count"),
    Fault("glove.h", "+ bias + c_bias - pair->log_count", "+ bias + c_bias + pair->log_count"),
    Fault("glove.h", "pair->weight * diff", "diff"),
    Fault("glove.h", "!(__builtin_fabsf(weighted) <= 3.4e38f)", "__builtin_fabsf(weighted) > 3.4e38f"),
    Fault("glove.h", "block.refused = pair - block.pairs;", "block.refused = 0;"),
    Fault("glove.h", "loss += 0.5 *", "loss +="),
    Fault("glove.h", "splat(weighted * g.rate)", "splat(weighted)"),
    Fault("glove.h", "splat(g.clip * g.rate)", "splat(g.clip)"),
    Fault("glove.h", "at_most(most, at_least(least, step * c))", "at_most(most, step * c)"),
    Fault("glove.h", "at_most(most, at_least(least, step * own))", "step * own"),
    Fault("glove.h", "own - to_w * inverse_root(own_sum)", "own + to_w * inverse_root(own_sum)"),
    Fault("glove.h", "own_sum = own_sum + to_w * to_w;", "own_sum = own_sum + to_w;"),
    Fault("glove.h", "c - to_c * inverse_root(c_sum)", "c - to_c"),
    Fault("glove.h", "c_sum + to_c * to_c", "c_sum"),
    Fault("glove.h", "store(w_at + v * W, own);", ""),
    Fault("glove.h", "store(sums_at + v * W, own_sum);", ""),
    Fault("glove.h", "k < 4 && v + k < n", "k < 4 && v + k < n - 1"),
    Fault("glove.h", "bias -= weighted / __builtin_sqrtf(bias_sum);", ""),
    Fault("glove.h", "bias_sum += square;", ""),
    Fault("glove.h", "c_bias_sum += square;", ""),
    Fault("glove.h", "store(w_at + v * W, w[v]);", ""),
    Fault("glove.h", "store(sums_at + v * W, sums[v]);", ""),
    Fault("glove.h", "g.biases[0][first_row + i] = bias;", ""),
    Fault("glove.h", "g.bias_sums[0][first_row + i] = bias_sum;", ""),
    Fault("glove.h", "if (block.refused >= 0) break;", ""),
    # decoders: products
    Fault("dot.h", "if (k < K) add(k,", "if (k + 1 < K) add(k,"),
    Fault("dot.h", "right[i] = left[i] + 2;", "right[i] = left[i];"),
    Fault("dot.h", "for (long n = whole; n < N; n++)", "for (long n = whole; n < N - 1; n++)"),
    Fault("rounded.h", "if (k < K) pair(0, k, false);", ""),
    Fault("rounded.h", "TYPE == INT8 ? sum * load(scales + v * W) : sum", "sum"),
    # decoders: steps
    Fault("decoder_step.h", "word[i] * d.embedding_scale", "word[i]"),
    Fault("decoder_step.h", "in_range &= powers_of", "powers_of"),
    Fault("decoder_step.h", "memory.in_range[sentence] && powers_of(query, d.A, powers)", "powers_of(query, d.A, powers)"),
    Fault("decoder_step.h", "(v + v) * reciprocal", "v * reciprocal"),
    Fault("decoder_step.h", "energies[s] /= total", "energies[s] /= total + 1"),
    Fault("decoder_step.h", "r * load(from_h + 2 * H + unit)", "load(from_h + 2 * H + unit)"),
    Fault("decoder_step.h", "new_h + z * (h - new_h)", "h + z * (new_h - h)"),
    Fault("decoder_step.h", "load_n(before + H + unit, n)", "load_n(before + unit, n)"),
    Fault("decoder_step.h", "values[at - 1] < value", "values[at - 1] <= value"),
    Fault("decoder_step.h", "logits[step.end] = -INFINITY;", ""),
    Fault("decoder_step.h", "logits[step.barred[i]] = -INFINITY;", ""),
    Fault("decoder_step.h", "(values[i] - largest) - log_total", "values[i] - largest"),
    Fault("decoder_step.h", "step.before + row * stride + feed", "step.after + row * stride + feed"),
    Fault("decoder_step.h", "first += s.n_at_once", "first += s.n_at_once + 1"),
    # decoders: searches
    Fault("search.cpp", "std::min(q_.beam_size + 1, d_.V)", "std::min(q_.beam_size, d_.V)"),
    Fault("search.cpp", "== candidates[(size_t)i - 1].total) return leave(sentence)", "== candidates[(size_t)i - 1].total) continue"),
    Fault("search.cpp", "made.parents[(size_t)slot]) * stride_", "slot) * stride_"),
    Fault("search.cpp", "if (word == q_.end || !(log_prob > NONE)) return true;", "return true;"),
    Fault("search.cpp", "if (sentence.greedy >= n_useful) sentence.greedy = -1;", ""),
    Fault("search.cpp", "word != q_.end && step + 1 < sentence.limit", "step + 1 < sentence.limit"),
    Fault("search.cpp", "least(sentence) * penalty(sentence.limit)", "least(sentence) * penalty(step + 1)"),
    Fault("search.cpp", "if ((long)best.size() > q_.n_best) best.pop_back();", ""),
    Fault("search.cpp", "step < ending.step || !ending.is_finished", "true"),
    Fault("search.cpp", "std::pow((5 + (double)n_words) / 6, q_.alpha)", "std::pow((6 + (double)n_words) / 6, q_.alpha)"),
]  # fmt: skip

# Loads the broken module under the name of the real one before anything imports it.
PLUGIN = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("unrolled._kernels", {module!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.modules["unrolled._kernels"] = module
"""


def build(source: Path, into: Path) -> Path | None:
    """Build the module from these sources; None if they do not compile."""
    cmake = ["cmake", "-S", str(source), "-B", str(into), "-DUNROLLED_INSTRUCTION_SETS=sse2",
             "-DUNROLLED_KERNEL_FLAGS=-O1", f"-DPython_EXECUTABLE={sys.executable}"]  # fmt: skip
    for command in (cmake, ["cmake", "--build", str(into), "--target", "_kernels"]):
        if subprocess.run(command, capture_output=True).returncode:
            return None
    return next(into.glob("_kernels*.so"))


OF_LAYERS = ("tests/ops/test_cross_entropy.py", "tests/ops/test_native.py")
OF_DECODERS = ("tests/tasks/test_native_search.py",)
OF_VECTORS = ("tests/vectors/test_cooccurrence.py", "tests/vectors/test_glove.py")


def tests_of(file: str) -> tuple[str, ...]:
    """The tests of a kernel file."""
    if file in ("decoder_step.h", "dot.h", "rounded.h", "search.cpp"):
        return OF_DECODERS
    return OF_VECTORS if file in ("counting.h", "glove.h", "vector_engine.cpp") else OF_LAYERS


def is_detected(module: Path, plugin_folder: Path, tests: tuple[str, ...]) -> bool:
    """Whether a test fails (or the interpreter crashes) with this module."""
    (plugin_folder / "broken_kernels.py").write_text(
        PLUGIN.format(module=str(module)), encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "broken_kernels", "-p", "no:randomly",
               "-k", "not memory and not environment and not instruction_set_is_refused", *tests]  # fmt: skip
    search = os.pathsep.join(filter(None, (str(plugin_folder), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"PYTHONPATH": search}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode != 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only faults whose file or code contains WORD", metavar="WORD")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        shutil.copytree(ROOT / "native", source / "native")
        shutil.copy(ROOT / "CMakeLists.txt", source)
        sound = build(source, folder / "build")
        chosen = [fault for fault in FAULTS if only in f"{fault.file} {fault.right}"]
        tests = sorted({test for fault in chosen for test in tests_of(fault.file)})
        if sound is None or is_detected(sound, folder, tuple(tests)):
            print("the unmodified kernels do not build, or their tests fail; fix them first")
            return 2
        survivors = 0
        for number, fault in enumerate(chosen, 1):
            path = source / "native" / fault.file
            text = path.read_text(encoding="utf-8")
            if fault.right not in text:
                print(f"{fault.file} no longer contains: {fault.right}; update FAULTS")
                return 2
            path.write_text(text.replace(fault.right, fault.wrong, 1), encoding="utf-8")
            module = build(source, folder / "build")
            verdict = "does not compile" if module is None else (
                "detected" if is_detected(module, folder, tests_of(fault.file)) else "SURVIVES")  # fmt: skip
            survivors += verdict != "detected"
            path.write_text(text, encoding="utf-8")
            print(
                f"{number:3} of {len(chosen)}  {verdict:9}  {fault.file}: {fault.right}  →  {fault.wrong or 'nothing'}",
                flush=True,
            )
    print(f"{len(chosen)} faults, {survivors} not detected")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
