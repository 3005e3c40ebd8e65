"""Fine-tune BERT: raw text in; a gated, registered, measured classifier and a report out."""

from kfp import dsl

from components.augment.text import text as augment_text
from components.optimize.prune import prune
from components.train.torch_text import torch_text
from pipelines._data import TEXT, prepare_text
from pipelines._evaluation import EVALUATION, RELEASE, measure_and_gate, report_and_register
from pipelines._optimization import OPTIMIZATION, PRUNING_DETAILS, PRUNING_NAMES, export_and_quantize
from pipelines._parameters import Arguments, expose, parameters
from pipelines._pods import configure_pod, configure_training_pod

NAME = "bert_finetune"
TRAINING_DETAILS = (
    "base_model_digest",
    "weight_decay",
    "dropout",
    "freeze_embeddings",
    "freeze_layers",
    "patience",
    "checkpoint_batches",
)
DEFAULTS = {
    "unprunable": "skip",  # a base model that cannot be pruned is still quantized and measured
    "methods": ["int8-dynamic", "openvino", "int8-openvino"],  # int8-static is not faster than int8-dynamic
    "model_name": NAME,
}


@dsl.pipeline(name="bert-finetune")
@parameters(
    *TEXT,
    expose(
        augment_text,
        hide=("synonyms", "insertion", "swap", "deletion", "protected"),
        rename={"fraction": "augment_fraction"},
    ),
    expose(torch_text, hide=TRAINING_DETAILS),
    expose(prune, hide=("channels_to_keep", *PRUNING_DETAILS), rename=PRUNING_NAMES),
    expose(configure_training_pod),
    *OPTIMIZATION,
    *EVALUATION,
    *RELEASE,
    defaults=DEFAULTS,
)
def bert_finetune(arguments: Arguments) -> None:
    """Fine-tune a BERT-family classifier on the rows of source; promote its fastest variant that is still accurate."""
    splits, checked = prepare_text(arguments)
    augmented = configure_pod(augment_text(dataset=splits, **arguments.of(augment_text))).after(checked)
    dataset = augmented.outputs["augmented"]

    training_pod = arguments.of(configure_training_pod)
    trained = configure_training_pod(torch_text(dataset=dataset, **arguments.of(torch_text)), **training_pod)
    model = trained.outputs["model"]
    pruned = configure_training_pod(prune(model=model, dataset=dataset, **arguments.of(prune)), **training_pod)
    variants = export_and_quantize(model, pruned.outputs["pruned"], dataset, arguments)

    measured = measure_and_gate(variants, dataset, arguments)
    report_and_register(NAME, variants, dataset, checked.outputs["checks"], measured, arguments)
