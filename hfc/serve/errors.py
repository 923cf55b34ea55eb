"""Errors as clients know them: OpenAI's error object, and Anthropic's on its own path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hfc.base.diagnostics import HfcError

TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    405: "invalid_request_error", 408: "timeout_error", 413: "request_too_large", 415: "invalid_request_error",
    429: "rate_limit_error", 499: "cancelled", 500: "server_error", 503: "overloaded_error",
}  # fmt: skip


LLAMA_PATHS = frozenset(("/completion", "/completions", "/infill"))  # in llama-server's own form
CONTEXT_EXCEEDED = "context_length_exceeded"
NO_THREADS = "thread_unsupported_request"
UNREADABLE = "There was an error parsing the body"  # FastAPI's words
ANTHROPIC_VERSION = "anthropic-version"  # a header


class ApiError(Exception):
    """An answer with a status of 400 or more. param: the field that is wrong.  sizes: tokens of a prompt that is too long, and
    the most that fit."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict | None = None,
        sizes: tuple[int, int] | None = None,
    ):
        super().__init__(message)
        self.sizes = sizes
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers or {}


class ErrorBody(BaseModel):
    """What is wrong, for people (message) and programs. n_prompt_tokens, n_ctx: of a prompt that is too long."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    n_prompt_tokens: int | None = None
    n_ctx: int | None = None


class ErrorObject(BaseModel):
    """OpenAI's error object."""

    error: ErrorBody


class AnthropicErrorBody(BaseModel):
    """type: Anthropic's name for the status."""

    type: str
    message: str
    details: dict[str, Any] | None = None


class AnthropicErrorObject(BaseModel):
    """Anthropic's error object."""

    type: str = "error"
    error: AnthropicErrorBody


class OllamaError(BaseModel):
    """Ollama's."""

    error: str


def words_of(path: str, headers: Mapping[str, str]) -> str:
    """The path whose dialect an error is told in: Anthropic's clients name a version on every path, of models too."""
    return "/v1/messages" if ANTHROPIC_VERSION in headers and not path.startswith("/api/") else path


def error_object(error: ApiError, path: str = "") -> dict[str, Any]:
    kind = TYPES.get(error.status, "server_error")
    if path.startswith("/api/"):
        if error.sizes:  # Ollama's own words
            return {
                "error": f"the input length exceeds the context length ({error.sizes[0]} tokens > {error.sizes[1]})"
            }
        return {"error": _named(error)}
    if path.startswith("/v1/messages"):
        message = _named(error)
        if error.sizes:  # Anthropic's own words: its clients look for them, and then compact
            message = f"prompt is too long: {error.sizes[0]} tokens > {error.sizes[1]} maximum"
        told: dict[str, Any] = {"type": "api_error" if kind == "server_error" else kind, "message": message}
        if error.code == NO_THREADS:  # Anthropic's clients go on without a thread then
            told["details"] = {"error_code": NO_THREADS, "unsupported": ["thread"]}
        return {"type": "error", "error": told}
    told = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    if error.sizes:  # llama-server's names; its own paths have its own words too, which its clients look for
        told |= {"n_prompt_tokens": error.sizes[0], "n_ctx": error.sizes[1]}
        if path in LLAMA_PATHS:
            text = f"request ({error.sizes[0]} tokens) exceeds the available context size ({error.sizes[1]} tokens)"
            told |= {"message": text, "type": "exceed_context_size_error"}
    return {"error": told}


def _named(error: ApiError) -> str:
    """The message of a dialect that has no other place for the name of the field."""
    if error.status >= 500:  # not the field's fault
        return error.message
    name = (error.param or "").rpartition(".")[2]
    is_said = name in error.message if not name.isdigit() else str(error.param) in error.message
    return error.message if is_said else f"{error.param}: {error.message}"


def error_response(error: ApiError, path: str = "") -> Response:
    # ASCII escapes: a message may quote a lone surrogate of the client, which UTF-8 cannot carry.
    body = json.dumps(error_object(error, path), ensure_ascii=True)
    return Response(body, error.status, error.headers, "application/json")


def documented(*statuses: int, model: type[BaseModel] = ErrorObject) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` of an endpoint: the statuses that every endpoint can give, and these."""
    every = (400, 401, 403, 404, 408, 413, 415, 429, 503, *statuses)
    return {status: {"model": model, "description": TYPES.get(status, "error").replace("_", " ")} for status in every}


def install_handlers(app: FastAPI) -> None:
    """Every error of the app becomes an error object."""

    @app.exception_handler(ApiError)
    async def _api_error(request: Request, error: ApiError) -> Response:
        return error_response(error, _words(request))

    @app.exception_handler(HfcError)
    async def _user_error(request: Request, error: HfcError) -> Response:
        return error_response(ApiError(400, error.message), _words(request))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return error_response(_explain(error), _words(request))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if error.detail == UNREADABLE:
            text = "the body is not valid JSON: it is not UTF-8"
            return error_response(ApiError(400, text, None, "invalid_json"), _words(request))
        return error_response(
            ApiError(error.status_code, str(error.detail), headers=dict(error.headers or {})), _words(request)
        )


def _words(request: Request) -> str:
    return words_of(request.url.path, request.headers)


def _explain(error: RequestValidationError) -> ApiError:
    """The first problem, with the name of the field as the client wrote it. Where several kinds of value are possible, the problems
    of the one that came nearest count."""
    placed = [(problem, *_place(problem, error.body)) for problem in error.errors()]
    deepest = max(depth for _, _, depth in placed)
    nearest = [p for p in placed if p[2] == deepest]
    problem, param, _ = first = min(nearest, key=lambda p: _is_of_type(p[0]) or p[0]["type"] == "missing")
    kind = problem["type"]
    if kind.startswith("union_tag"):
        known, name = problem["ctx"].get("expected_tags"), str(problem["ctx"]["discriminator"]).strip("'")
        text = f"should have a {name}" if known is None else f"{name} should be one of {known}"
        return ApiError(400, f"{param or 'the body'}: {text}", param, "invalid_value")
    if kind == "refused":
        context = problem["ctx"]
        return ApiError(400, f"{param}: {context['reason']}", param, context["code"])
    if kind == "json_invalid":
        return ApiError(400, "the body is not valid JSON", None, "invalid_json")
    if kind == "missing" and problem["loc"] == ("body",):
        return ApiError(400, "the request has no body; a JSON object is expected", None, "invalid_json")
    if kind == "missing" and param:
        return ApiError(400, f"missing parameter: {param!r}", param, "missing_parameter")
    same = [p[0] for p in placed if p[1:] == first[1:]]
    if any(not _is_of_type(p) for p in same):  # the value is of one of the types, and something else is wrong with it
        same = [p for p in same if not p["type"].endswith("_type")]
    wanted = list(dict.fromkeys(map(_wanted, same)))
    if not all(wanted):
        return ApiError(400, f"{param}: {same[0]['msg']}", param, "invalid_value")
    text = ", or ".join([wanted[0], *(w.removeprefix("be ") for w in wanted[1:])])
    return ApiError(400, f"{param or 'the body'} should {text}", param, "invalid_value")


def _place(problem: Mapping[str, Any], body: Any) -> tuple[str | None, int]:
    """The path of a problem as far as it is one in the body, and its length; what else a location holds are names of our types."""
    path: list[str] = []
    parts = [part for part in problem["loc"] if part != "body"]
    if problem["type"] == "refused":
        parts.append(problem["ctx"]["place"])
    for i, part in enumerate(parts):
        is_inside = (isinstance(body, dict) and part in body) or (
            isinstance(body, list) and isinstance(part, int) and part < len(body)
        )
        if is_inside:
            body = body[part]
            path.append(str(part))
        elif i == len(parts) - 1 and problem["type"] == "missing":
            path.append(str(part))
    return ".".join(path) or None, len(path)


def _is_of_type(problem: Mapping[str, Any]) -> bool:
    """Whether a problem is that a value is of another type, or none of some values."""
    return problem["type"].endswith("_type") or problem["type"] in ("literal_error", "int_from_float")


def _wanted(problem: Mapping[str, Any]) -> str:
    """What pydantic says that a value should do ("be a number"), in words of JSON; "" for other problems."""
    if problem["type"].startswith(("model_", "dict_")):
        return "be an object"
    if problem["type"] in ("too_short", "string_too_short") and problem["ctx"].get("min_length") == 1:
        return "not be empty"
    return problem["msg"].partition("should ")[2].replace(" after validation", "")
