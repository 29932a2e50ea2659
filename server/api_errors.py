"""Errors of a request in the form of the API, with their HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from ramify.errors import (
    EngineClosed,
    MalformedText,
    ModelCrashed,
    ModelUnreachable,
    QuestionTooLong,
    RamifyError,
    RewardContextExceeded,
    SearchError,
    UsageError,
)
from ramify.json_text import ascii_json

_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


class ApiError(Exception):
    """An error that a client is told, in the form of the API.

    `param` is the field of the request that is wrong, None if it is none; `code` is a word for programs. `headers`
    are those of the response.
    """

    def __init__(
        self,
        status: HTTPStatus | int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = int(status)
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error as the API writes it."""
        usual = "invalid_request_error" if self.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
        kind = _TYPES.get(HTTPStatus(self.status), usual)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """Return the whole response."""
        return json_response(self.body, self.status, self.headers)


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """Return the error of a request whose field `param` is wrong."""
    return ApiError(HTTPStatus.BAD_REQUEST, message, param=param, code=code)


def not_supported(param: str, message: str) -> ApiError:
    """Return the error of a field that the server cannot honour."""
    return bad_request(message, param, "unsupported_parameter")


def api_error(error: Exception, param: str | None = None) -> ApiError:
    """Return the error of the API for an error of ramify; of a bug a client is told no more than that there was one."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QuestionTooLong | RewardContextExceeded):
        return bad_request(str(error), param or "messages", "context_length_exceeded")
    if isinstance(error, UsageError | SearchError | MalformedText):
        return bad_request(str(error), param)
    if isinstance(error, ModelCrashed | ModelUnreachable | EngineClosed):
        return ApiError(HTTPStatus.SERVICE_UNAVAILABLE, str(error), code="model_unavailable")
    if isinstance(error, RamifyError):
        return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
    return ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server met an unexpected error; its log has the details")


def json_response(value: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response whose body is `value` as JSON."""
    return Response(ascii_json(value), status_code=int(status), headers=headers, media_type="application/json")
