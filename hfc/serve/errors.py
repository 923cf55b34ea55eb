"""Errors as clients know them: OpenAI's error object, and Anthropic's on its own path."""

from __future__ import annotations

import json
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


class ApiError(Exception):
    """An answer with a status of 400 or more. param: the field that is wrong."""

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None, headers: dict | None = None
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers or {}


class ErrorBody(BaseModel):
    """What is wrong, for people (message) and programs."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorObject(BaseModel):
    """OpenAI's error object."""

    error: ErrorBody


class AnthropicErrorBody(BaseModel):
    """type: Anthropic's name for the status."""

    type: str
    message: str


class AnthropicErrorObject(BaseModel):
    """Anthropic's error object."""

    type: str = "error"
    error: AnthropicErrorBody


def error_object(error: ApiError, path: str = "") -> dict[str, Any]:
    kind = TYPES.get(error.status, "server_error")
    if path.startswith("/v1/messages"):
        return {
            "type": "error",
            "error": {"type": "api_error" if kind == "server_error" else kind, "message": error.message},
        }
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def error_response(error: ApiError, path: str = "") -> Response:
    # ASCII escapes: a message may quote a lone surrogate of the client, which UTF-8 cannot carry.
    body = json.dumps(error_object(error, path), ensure_ascii=True)
    return Response(body, error.status, error.headers, "application/json")


def documented(*statuses: int, model: type[BaseModel] = ErrorObject) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` of an endpoint: the statuses that every endpoint can give, and these."""
    every = (400, 401, 404, 413, *statuses)
    return {status: {"model": model, "description": TYPES.get(status, "error").replace("_", " ")} for status in every}


def install_handlers(app: FastAPI) -> None:
    """Every error of the app becomes an error object."""

    @app.exception_handler(ApiError)
    async def _api_error(request: Request, error: ApiError) -> Response:
        return error_response(error, request.url.path)

    @app.exception_handler(HfcError)
    async def _user_error(request: Request, error: HfcError) -> Response:
        return error_response(ApiError(400, error.message), request.url.path)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return error_response(_explain(error), request.url.path)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return error_response(
            ApiError(error.status_code, str(error.detail), headers=dict(error.headers or {})), request.url.path
        )


def _explain(error: RequestValidationError) -> ApiError:
    """The first problem, or an unknown parameter if there is one, with the name of the field."""
    problems = error.errors()
    unknown = [p for p in problems if p["type"] == "extra_forbidden"]
    problem = (unknown or problems)[0]
    param = ".".join(str(part) for part in problem["loc"] if part != "body") or None
    if problem["type"] == "extra_forbidden":
        return ApiError(400, f"unknown parameter: {param!r}", param, "unknown_parameter")
    if problem["type"] == "json_invalid":
        return ApiError(400, "the body is not valid JSON", None, "invalid_json")
    missing = problem["type"] == "missing"
    text = f"missing parameter: {param!r}" if missing and param else f"{param or 'the body'}: {problem['msg']}"
    return ApiError(400, text, param, "missing_parameter" if missing else "invalid_value")
