"""`router-training router add-model`: a model added to a trained router, or replaced in it, without training it again.

    router-training router add-model --bundle DIR --data PROBES... --model NAME --out DIR
                                     [--card CARD | --parents A=0.7 B=0.3]
                                     [--learning-curve OUT.jsonl --test FILE:METRIC ... [--reference DIR]]

Everything in the bundle is frozen but NAME's own rows, which start at the mean of its parents' and are learned from
probes: a training table that scores NAME on some queries (routers/adding). With few probes NAME is `pending`. The new
bundle names the old one as a parent. Its evaluation is that of the old one, under `before_adding`: it was not measured
anew.

Promises: flags, tables and bundles are refused before the encoder is loaded; the new bundle appears whole or not at
all; the same bundle, probes and seed give the same bytes on one machine. `--out` may be the old bundle's own folder.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from router_core.bundle import QUESTION_HASHES, DataEntry, Parent, RouterBundle, load_bundle, question_hash, save_bundle
from router_core.model_card import read_model_card
from router_core.tensors import AnyArray
from router_training.errors import JobConfigError
from router_training.evaluate.judging import encoder_of, read_evaluation_files
from router_training.routers.adding.addition import Addition, add_model, warm_start
from router_training.routers.adding.calibration import FEWEST_PROBES
from router_training.routers.adding.parents import Weights, default_parents, parents_of_card, parse_parents
from router_training.routers.adding.probes import ProbeTable, read_probes
from router_training.routers.dataset import DataFile
from router_training.routers.learning_curve import (
    Reference,
    learning_curve,
    refuse_other_models,
    scored_queries,
    write_learning_curve,
)
from router_training.routers.one_thread import one_thread

PARENT_NAME = "router bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the job."""
    parser.add_argument("--bundle", required=True, type=Path, metavar="DIR", help="The router bundle to add to.")
    parser.add_argument("--model", required=True, metavar="NAME", help="The model; one of the bundle is replaced.")
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="FILE",
        help="Probes: tables that score NAME; PATH or PATH:multi_attempt or PATH:probability.",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="The bundle directory to write.")
    where_from = parser.add_mutually_exclusive_group()
    where_from.add_argument("--card", type=Path, metavar="CARD", help="NAME's model card; its parents are the start.")
    where_from.add_argument(
        "--parents",
        nargs="+",
        metavar="MODEL=WEIGHT",
        help="Models of the bundle that NAME is made from. Default: all alike; of a replaced model: itself.",
    )
    parser.add_argument(
        "--learning-curve", type=Path, metavar="OUT", help="Measure how good 8, 16, ... probes are; needs --test."
    )
    parser.add_argument("--test", nargs="+", metavar="FILE:METRIC", help="Tables to judge on, as of router evaluate.")
    parser.add_argument(
        "--reference", type=Path, metavar="DIR", help="A bundle trained on all models, to compare with."
    )
    parser.add_argument("--seed", type=int, default=0, help="Of the folds of the probes. Default: 0")
    parser.add_argument("--device", default="cpu", help="Torch device of a sentence encoder. Default: cpu")


def run(args: argparse.Namespace) -> int:
    """Add and write. Raises RouterTrainingError, RouterCoreError."""
    _refuse_bad_flags(args)
    bundle = load_bundle(args.bundle)
    parents = _parents(args, bundle)
    warm_start(bundle, args.model, parents)  # refuses a bundle that no model can be added to
    table = read_probes([DataFile.parse(text) for text in args.data], args.model, bundle.models)
    models = bundle.models if args.model in bundle.models else (*bundle.models, args.model)
    files = read_evaluation_files(args.test, models) if args.test else []
    reference = load_bundle(args.reference) if args.reference is not None else None
    if reference is not None:
        refuse_other_models(reference, models)
    encode = encoder_of(bundle, args.device)
    probes = table.encoded(encode, args.seed)
    if args.out is not None:
        with one_thread():
            addition = add_model(bundle, args.model, probes, parents)
        made = export_addition(args.out, bundle, args.model, addition, table)
        print(_outcome(args.model, addition, bundle, made))
    if args.learning_curve is not None:
        tests = scored_queries(files, models, encode)
        known = None
        if reference is not None:
            known = Reference(reference, scored_queries(files, models, encoder_of(reference, args.device)))
        with one_thread():
            points = list(learning_curve(bundle, args.model, probes, parents, tests, known))
        write_learning_curve(args.learning_curve, points)
        print(f"wrote {args.learning_curve}  {len(points)} measurements on {len(tests)} test table(s)")
    return 0


def export_addition(out: Path, bundle: RouterBundle, model: str, addition: Addition, table: ProbeTable) -> RouterBundle:
    """Write the enlarged bundle. Raises BundleError."""
    old, new = bundle.manifest, addition.enlarged.manifest
    return save_bundle(
        out,
        models=new.models,
        encoder=new.encoder,
        scorer=new.scorer,
        tensors={**addition.enlarged.tensors, **_hashes(bundle, table.questions)},
        calibration=new.calibration,
        abstention=new.abstention,
        data=_without_twins([*old.data, *table.entries]),
        parents=[*old.parents, Parent(name=PARENT_NAME, digest=bundle.digest)],
        training={**old.training, "added": _merged(old.training.get("added"), model, addition.record)},
        evaluation={
            "before_adding": old.evaluation.get("before_adding", old.evaluation),
            "added": _merged(old.evaluation.get("added"), model, addition.evaluation),
        },
        encoder_folder=bundle.encoder_path,
    )


def _refuse_bad_flags(args: argparse.Namespace) -> None:
    if not args.model.strip():
        raise JobConfigError("--model: the name is empty; give the name that the model is served by")
    if args.seed < 0:
        raise JobConfigError(f"--seed {args.seed}: must be at least 0")
    if args.out is None and args.learning_curve is None:
        raise JobConfigError("--out: missing; say where the new bundle goes, or measure with --learning-curve")
    if args.out is not None and args.out.is_file():
        raise JobConfigError(f"--out {args.out}: is a file; give a folder")
    if (args.learning_curve is None) != (args.test is None):
        raise JobConfigError("--learning-curve and --test come together; one is missing")
    if args.reference is not None and args.learning_curve is None:
        raise JobConfigError("--reference: belongs to --learning-curve")


def _parents(args: argparse.Namespace, bundle: RouterBundle) -> Weights:
    """The warm start, said aloud. Raises JobConfigError, ModelCardError."""
    found: Weights = {}
    why = ""
    if args.parents:
        found = parse_parents(args.parents, bundle.models)
    elif args.card is not None:
        found = parents_of_card(read_model_card(args.card), bundle.models)
        why = "" if found else f" (the bundle knows no parent of {args.card})"
    found = found or default_parents(bundle.manifest, args.model)
    print(f"warm start of {args.model}: the mean of {', '.join(found)}{why}", flush=True)
    return found


def _hashes(bundle: RouterBundle, questions: Sequence[str]) -> dict[str, AnyArray]:
    """The training questions with the probes; none where the bundle does not say which it was trained on."""
    if bundle.question_hashes is None:
        return {}
    mine = np.array([question_hash(question) for question in questions], dtype=np.uint64)
    return {QUESTION_HASHES: np.union1d(bundle.question_hashes, mine)}


def _without_twins(entries: Sequence[DataEntry]) -> list[DataEntry]:
    return [entry for index, entry in enumerate(entries) if entry not in entries[:index]]


def _merged(old: JsonValue, model: str, mine: Mapping[str, JsonValue]) -> JsonValue:
    return {**(old if isinstance(old, dict) else {}), model: dict(mine)}


def _outcome(model: str, addition: Addition, bundle: RouterBundle, made: RouterBundle) -> str:
    figures, questions = addition.evaluation, addition.record["questions"]
    state = "calibrated"
    if model in made.manifest.calibration.pending:
        state = f"pending until it has {FEWEST_PROBES} probes: not chosen while another model may answer"
    lines = [
        f"{model} from {addition.record['probes']} probes of {questions} question(s): Brier score "
        f"{figures['brier']:.4f} on held-out probes, {figures['brier_of_warm_start']:.4f} by the warm start; {state}"
    ]
    if bundle.manifest.abstention is not None:
        lines.append(_abstention_line(bundle, made))
    lines.append(f"wrote {made.path}  bundle {made.digest[:12]}  {len(made.models)} models")
    return "\n".join(lines)


def _abstention_line(bundle: RouterBundle, made: RouterBundle) -> str:
    if made.manifest.abstention is None:
        return (
            "abstention: the thresholds no longer hold and were dropped; fresh probes that score every model, "
            "100 or more, fit them again"
        )
    if made.manifest.abstention == bundle.manifest.abstention:
        return "abstention: the thresholds stay as they were"
    return "abstention: the thresholds were fitted again on the probes"
