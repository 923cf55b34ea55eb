"""What each dialect can ask for and hfc cannot do, by name, and what its clients always send to no effect."""

from __future__ import annotations

from hfc.serve.tolerance import Dialect, Refused

_NO_SAMPLER = "hfc has no such sampler; it has temperature, top_k, top_p, min_p and penalties"
TEXT_ONLY = "this model reads text only"
_FORMATS = "ask for structured output with response_format (json_schema, regex, lark) or grammar"

SAMPLERS = {  # fields of other servers that would choose other tokens
    "mirostat": (0,), "mirostat_mode": (0,), "dry_multiplier": (0,), "xtc_probability": (0,), "typical_p": (1,), "typical": (1,),
    "tfs_z": (1,), "top_a": (0,), "top_n_sigma": (-1, 0), "dynatemp_range": (0,), "smoothing_factor": (0,),
    "epsilon_cutoff": (0,), "eta_cutoff": (0,), "no_repeat_ngram_size": (0,), "adaptive_target": (-1,), "min_keep": (0, 1),
}  # fmt: skip

_EVERY = {  # of every dialect
    **{f"request.{name}": Refused(_NO_SAMPLER, neutral) for name, neutral in SAMPLERS.items()},
    **{
        f"request.{name}": Refused(_FORMATS)
        for name in ("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs")
    },
    "request.n_cmpl": Refused("send a prompt as often as it shall be answered, or n in a chat", (1,)),
    "request.use_beam_search": Refused("hfc samples; it has no beam search"),
    "request.length_penalty": Refused("hfc samples; it has no beam search", (1,)),
    "request.bad_words": Refused("forbid tokens with logit_bias"),
    "request.allowed_token_ids": Refused("restrict an answer with response_format or grammar"),
    "request.lora": Refused("hfc loads no adapters"),
    "request.prompt_embeds": Refused("a prompt is text or token ids"),
}

_USUAL = frozenset(
    f"request.{name}"
    for name in (
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "cache_prompt", "stream_options", "verbosity", "id_slot", "slot_id",
    )
)  # fmt: skip

CHAT = Dialect(
    "/v1/chat/completions",
    refused={
        **_EVERY,
        "request.functions": Refused("functions is OpenAI's old name: send tools"),
        "request.function_call": Refused("function_call is OpenAI's old name: send tool_choice", ("none", "auto")),
        "request.audio": Refused("this model writes text only"),
        "request.modalities": Refused("this model writes text only", (["text"],)),
        "request.web_search_options": Refused("hfc searches no web; give the model a tool that does"),
        "request.chat_template": Refused("the checkpoint's own template is used"),
        "request.documents": Refused("put documents into messages"),
        "request.echo": Refused("an answer of a chat has no echo; /v1/completions has"),
        "request.best_of": Refused("best_of other than 1 is not supported", (1,)),
        "message.function_call": Refused("function_call is OpenAI's old name: send tool_calls"),
        "message.audio": Refused(TEXT_ONLY),
    },
    silent=_USUAL
    | {"part.cache_control", "message.cache_control", "message.annotations", "tool.cache_control", "message.reasoning_details"}
    | {"stream_options.include_obfuscation", "message.provider_specific_fields", "message.parsed", "function.parsed_arguments", "call.provider_specific_fields"},
    kinds={"part": dict.fromkeys(("image_url", "input_audio", "file", "video_url", "image", "audio"), TEXT_ONLY)},
)  # fmt: skip

COMPLETIONS = Dialect("/v1/completions", refused=_EVERY, silent=_USUAL)

_OUTPUTS = (  # items that hold what the model has to know; those of calls alone say nothing
    "local_shell_call_output", "shell_call_output", "apply_patch_call_output", "computer_call_output", "code_interpreter_call", "mcp_call",
)  # fmt: skip

RESPONSES = Dialect(
    "/v1/responses",
    refused={
        **_EVERY,
        "request.previous_response_id": Refused("nothing is stored here: send the whole input"),
        "request.conversation": Refused("nothing is stored here: send the whole input"),
        "request.prompt": Refused("no prompts are stored here: send instructions and input"),
        "request.background": Refused("nothing is stored here, so no answer can be fetched later"),
    },
    silent=_USUAL
    | {
        "request.client_metadata",
        "item.id",
        "item.status",
        "item.phase",
        "part.type",
        "part.annotations",
    }
    | {
        "part.logprobs",
        "reasoning.id",
        "reasoning.summary",
        "reasoning.encrypted_content",
        "reasoning.status",
    },
    kinds={
        "item": {
            "item_reference": "nothing is stored here: send the item itself",
            "compaction": "an encrypted summary cannot be read here: send messages",
            **dict.fromkeys(
                _OUTPUTS, "what a tool of OpenAI's gave: send it as function_call and function_call_output"
            ),
        },
        "part": dict.fromkeys(("input_image", "input_file", "input_audio"), TEXT_ONLY),
    },
)

MESSAGES = Dialect(
    "/v1/messages",
    refused={
        **_EVERY,
        "request.mcp_servers": Refused("hfc calls no MCP servers; give the model their tools"),
        "request.container": Refused("hfc has no containers"),
        # ignored, the next request would bring its newest message alone
        "request.thread": Refused(
            "nothing is stored here: send the whole conversation", code="thread_unsupported_request"
        ),
    },
    silent=_USUAL
    | {"block.cache_control", "tool.cache_control", "block.citations", "tool.eager_input_streaming"}
    | {"block.signature", "request.context_management", "block.caller"},
    kinds={
        "block": {
            **dict.fromkeys(("image", "document"), TEXT_ONLY),
            "search_result": "send what was found as text",
            "container_upload": "hfc has no containers",
        }
    },
)

EMBEDDINGS = Dialect(
    "/v1/embeddings",
    refused={"request.prompt_embeds": _EVERY["request.prompt_embeds"]},
    silent=_USUAL,
    kinds={"part": dict.fromkeys(("image_url", "input_audio", "input_video", "image", "audio"), TEXT_ONLY)},
)

LLAMA = Dialect(
    "llama-server",
    refused={
        **_EVERY,
        "request.post_sampling_probs": Refused("probabilities are the model's own; leave it out"),
        "request.t_max_predict_ms": Refused("bound an answer with n_predict, a request with timeout", (0, -1)),
        "prompt.multimodal_data": Refused(TEXT_ONLY),
    },
    silent=_USUAL | {"request.n_keep"},
)

OLLAMA = Dialect(
    "Ollama's API",
    refused={
        "request.context": Refused("send the conversation to /api/chat"),
        "request.template": Refused("the checkpoint's own template is used"),
        "request.images": Refused(TEXT_ONLY),
        "message.images": Refused(TEXT_ONLY),
        **{f"options.{name}": Refused(_NO_SAMPLER, neutral) for name, neutral in SAMPLERS.items()},
        "options.samplers": Refused("samplers stand in hfc's order; /completion and the paths under /v1 can leave some out"),
    },
    silent=frozenset(
        f"options.{name}"
        for name in (
            "num_ctx", "num_keep", "num_batch", "num_gpu", "main_gpu", "use_mmap", "use_mlock", "num_thread", "numa", "low_vram",
            "mirostat_eta", "mirostat_tau", "penalize_newline", "draft_num_predict",
        )
    )
    | {"request.shift", "request.insecure", "request.verbose", "message.tool_call_id", "function.index"},
)  # fmt: skip
