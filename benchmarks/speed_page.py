"""Tables of docs/speed.md, from the results of engines.py, answers.py, step_time.py and many_classes.py."""

from __future__ import annotations

import statistics

from page_parts import read, section

_MODELS = ("ViT-B-32", "resnet50", "tf_efficientnet_lite0")


def speed_images() -> str:
    """From files on disk to embeddings."""
    data = read("engines")
    parts = []
    for name in _MODELS:
        of, rates = data[name], data[name]["images_per_s"]
        base = rates["plain loop"]
        rows = [
            f"| {name} | images/s | times the plain loop | forward alone | share of the GEMM | difference | cosine |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for way, rate in rates.items():
            if way.startswith("forward: "):
                continue
            row = f"| {_named(way)} | {rate:.1f} | {rate / base:.2f} | "
            if way in of["against_float32"]:
                apart = of["against_float32"][way]
                row += f"{rates[f'forward: {way}']:.1f} | {100 * of['share_of_gemm'][way]:.0f} % | "
                row += f"{apart['difference']:.0e} | {apart['cosine']:.6f} |"
            else:
                row += "| | | |"
            rows.append(row)
        parts.append("\n".join(rows))
    peak = data["gemm"]
    takes = ", ".join(f"{data[name]['gflop']:.1f} ({name})" for name in _MODELS)
    text = (
        f"A plain matrix product reaches {peak['float32']:.0f} GFLOP/s in float32 and {peak['bfloat16']:.0f} in bfloat16 here, "
        f"{peak['bfloat16'] / peak['float32']:.1f} times as many: no way of running these models in bfloat16 can be faster by "
        f"much more. One image takes {takes} GFLOP."
    )
    return section(["\n\n".join(parts)], data, text)


def speed_texts() -> str:
    """Texts through all-MiniLM-L6-v2."""
    data = read("engines")
    of = data["all-MiniLM-L6-v2"]["texts_per_s"]
    kinds = list(of)
    rows = [
        "| texts/s | " + " | ".join(f"{kind} | times" for kind in kinds) + " |",
        "|---|" + "---:|---:|" * len(kinds),
    ]
    for way in of[kinds[0]]:
        name = f"`SentenceTransformer.encode`, {way.partition(', ')[2]}" if way.startswith("encode") else _named(way)
        cells = (f"{of[kind][way]:.0f} | {of[kind][way] / of[kind]['encode, float32']:.2f}" for kind in kinds)
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return section(rows, data)


def speed_answers() -> str:
    """What precisions and engines do to answers."""
    data = read("answers")
    rows = [
        "| | way | largest difference of a probability | same first answer | accuracy |",
        "|---|---|---:|---:|---:|",
    ]
    for name, of in data.items():
        for way, found in of.items() if isinstance(of, dict) else ():
            if isinstance(found, dict) and "same_first" in found:
                different, same = found["largest_difference"], 100 * found["same_first"]
                rows.append(
                    f"| {name} | {_named(way)} | {different:.0e} | {same:.1f} % | {100 * found['accuracy']:.1f} % |"
                )
            elif isinstance(found, dict) and "accuracy" in found:
                rows.append(f"| {name} | {way} | | | {100 * found['accuracy']:.1f} % |")
    runs = data["training"]
    means = {kind: statistics.fmean(run["accuracy"] for run in runs[kind]) for kind in ("fp32", "bf16")}
    apart = [100 * value for value in runs["difference of accuracy"]]
    losses = runs["difference of loss"]
    text = (
        f"Training all-MiniLM-L6-v2 on TREC, {len(runs['fp32'])} seeds: {100 * means['fp32']:.1f} % in fp32 and "
        f"{100 * means['bf16']:.1f} % in bf16, a difference of {apart[0]:+.1f} points (95 %: {apart[1]:+.1f} to {apart[2]:+.1f}); "
        f"the loss of the last ten steps differs by {losses[0]:+.3f} ({losses[1]:+.3f} to {losses[2]:+.3f})."
    )
    return section(rows, data, text)


def speed_steps() -> str:
    """Steps of training."""
    data = read("step_time")
    rows = [
        "| model | by hand, fp32 | here, unasked | times as fast | here, fp32 | times as fast |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, of in data["models"].items():
        seconds = {way: statistics.median(values) for way, values in of["seconds_of_steps"].items()}
        cells = [f"{seconds['by hand']:.2f} s"]
        for way in ("modelgraft", "modelgraft, fp32"):
            cells += [f"{seconds[way]:.2f} s", f"{1 / of['ratio'][way]:.2f}"]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    options = data["options"]
    text = (
        f"Unasked is {data['unasked']} here. Medians of {options['rounds']} rounds of {options['steps']} steps of "
        f"{options['batch_size']} images, in turn."
    )
    return section(rows, data, text)


def many_classes() -> str:
    """Sweeps of many classes."""
    data = read("many_classes")
    rows = [
        "| set | classes | items | sweep, CPU s | probe with its curve | peak MiB | scikit-learn, CPU s | times | certificate |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, of in data["sets"].items():
        sweep, curve, theirs = of["sweep"], of["with curve"], of["scikit-learn"]["extrapolated_cpu_s"]
        rows.append(
            f"| {name} | {of['classes']} | {of['train']:,} | {sweep['cpu_s']:.1f} | {curve['cpu_s']:.1f} | "
            f"{sweep['peak_mib']:.0f} | {theirs:.0f} | {theirs / sweep['cpu_s']:.0f} | {of['probe']['certificate_relative']:.0e} |"
        )
    return section(rows, data)


def _named(way: str) -> str:
    engine, _, precision = way.partition(", ")
    return f"here, {engine}, {precision}" if precision in ("exact", "fast") else way
