"""What `hfc serve` takes."""

from pathlib import Path

from hfc.cli.usage.declare import PROJECT, USER, flag, option, usage
from hfc.cli.usage.limits import LIMITS
from hfc.cli.usage.shared import CONTEXT, DEVICE, KV, THREADS, TRUST, WEIGHTS, draft, model, random_weights

USAGE = usage(
    "Serve models to OpenAI clients: /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/models and more.\n\n"
    "A single model is loaded at once; several are when they are asked for.",
    model("Bundles, Hugging Face folders, .gguf files, or names of `hfc models`.", required=False, many=True),
    option("--models", Path, "A folder: every model in it is served too.", metavar="FOLDER", settable=USER),
    option("--host", str, "Address to listen on; others than loopback need an API key.", "127.0.0.1", settable=USER),
    option("--port -p", int, "0: any that is free.", 11435, least=0, most=65535, settable=USER),
    flag("--daemon -d", "Run in the background; see `hfc ps` and `hfc stop`."),
    option(
        "--slots",
        int,
        "Sequences that run at a time. [default: 8 for models that are small for the memory, else 4]",
        least=1,
        settable=PROJECT,
        also=("--parallel", "-np"),
    ),
    CONTEXT,
    KV,
    DEVICE,
    THREADS,
    WEIGHTS,
    TRUST,
    random_weights("Draw the weights, to measure. GPUs only; --weights names a folder with a tokenizer.json."),
    draft("auto"),
    option(
        "--name",
        str,
        "What clients call the model, if it is the only one. [default: MODEL's name]",
        also=("--served-model-name",),
    ),
    option(
        "--alias",
        str,
        "Another name of the model, if it is the only one; may be given more than once. *: any name means it.",
        many=True,
    ),
    option(
        "--memory-mb",
        int,
        "Memory for all models together, in MB; the least recently used makes room. [default: most of the device's]",
        least=1,
        settable=PROJECT,
    ),
    option(
        "--idle-unload",
        float,
        "Seconds after which an unused model is unloaded. [default: never]",
        name="idle_unload_s",
        least=0.1,
        settable=PROJECT,
    ),
    option(
        "--cache-mb", int, "Host memory of a model's prefix cache, in MB; 0: none.", 1024, least=0, settable=PROJECT
    ),
    option(
        "--device-cache-mb",
        int,
        "GPUs: memory of the device that a model's prefix cache may take. [default: a 16th]",
        least=0,
        settable=PROJECT,
    ),
    option("--queue", int, "Sequences that may wait for a slot; more get 429.", 256, least=0, settable=PROJECT),
    option(
        "--max-wait",
        float,
        "Seconds that a sequence may wait for a slot; then it gets 429. [default: as long as the request may take]",
        name="max_wait_s",
        least=0.1,
        settable=PROJECT,
    ),
    option(
        "--prefill-rows",
        int,
        "Most prompt tokens of a step in which others decode. [default: as many as keep their rhythm, by measured times]",
        least=1,
        settable=PROJECT,
    ),
    option(
        "--api-key",
        str,
        "A key that clients may use; may be given more than once. Others on the machine see it while the command starts: "
        "prefer --api-key-file or the variable HFC_API_KEY.",
        metavar="KEY",
        many=True,
    ),
    option(
        "--api-key-file",
        Path,
        "Keys that clients may use, one a line; HFC_API_KEY holds some too, with spaces between.",
        metavar="FILE",
        settable=USER,
    ),
    option(
        "--priority-key-file",
        Path,
        'Keys that clients may use, and with which requests may ask to go first ("service_tier": "priority").',
        metavar="FILE",
        settable=USER,
    ),
    option(
        "--cors", str, "An origin whose pages may call the server, or *.", metavar="ORIGIN", many=True, settable=USER
    ),
    option("--tls-cert", Path, "Certificate chain, PEM.", metavar="FILE", settable=USER),
    option("--tls-key", Path, "Private key, PEM.", metavar="FILE", settable=USER),
    option(
        "--timeout",
        float,
        "Seconds that a request may take, waiting included.",
        600.0,
        name="timeout_s",
        least=0.1,
        settable=PROJECT,
    ),
    option(
        "--drain",
        float,
        "Seconds that running requests get after SIGTERM.",
        30.0,
        name="drain_s",
        least=0,
        settable=PROJECT,
    ),
    *LIMITS,
    option("--temperature --temp", float, "Of requests that name none. [default: 0.7]", settable=PROJECT),
    option("--top-k", int, "Of requests that name none. [default: 40]", settable=PROJECT),
    option("--top-p", float, "Of requests that name none. [default: 0.95]", settable=PROJECT),
    option("--min-p", float, "Of requests that name none. [default: 0.05]", settable=PROJECT),
    option("--seed", int, "Of requests that name none. [default: a fresh one each]", also=("-s",)),
    option(
        "--max-tokens -n",
        int,
        "Of requests that name no limit. [default: the context; 16 for completions]",
        least=1,
        settable=PROJECT,
        also=("--n-predict", "--predict"),
    ),
    option(
        "--chat-template",
        Path,
        "A file with the Jinja template to use in place of the model's own, if it is the only one.",
        metavar="FILE",
        settable=USER,
        also=("--chat-template-file",),
    ),
)
