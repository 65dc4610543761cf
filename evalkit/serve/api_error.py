"""Errors in the shape of the OpenAI Images API."""

from __future__ import annotations

from starlette.responses import JSONResponse

from evalkit.core import Refusal

_REFUSALS = {  # status of a Refusal -> HTTP status, type and code of the error
    "refused_input": (400, "image_generation_user_error", "moderation_blocked"),
    "refused_output": (400, "image_generation_user_error", "moderation_blocked"),
    "bad_request": (400, "invalid_request_error", "invalid_value"),
    "rate_limited": (429, "rate_limit_error", "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
}


class ApiError(Exception):
    """An answer other than 200."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        error_type: str = "",
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.error_type = error_type or (
            "server_error" if status >= 500 else "invalid_request_error"
        )
        self.more: dict[str, object] = {}

    def response(self) -> JSONResponse:
        error = {
            "message": self.message,
            "type": self.error_type,
            "param": self.param,
            "code": self.code,
            **self.more,
        }
        retry = self.status == 429 and self.error_type == "rate_limit_error"
        headers = {"x-should-retry": str(retry).lower()}
        headers |= {"retry-after": "1"} if self.status == 429 else {}
        headers |= {"www-authenticate": "Bearer"} if self.status == 401 else {}
        return JSONResponse({"error": error}, self.status, headers)


def refusal_error(refusal: Refusal) -> ApiError:
    """The error for an image that the model refused or could not make."""
    other = (500, "server_error", f"model_{refusal.status}")
    status, error_type, code = _REFUSALS.get(refusal.status, other)
    message = refusal.detail or f"The model answered {refusal.status}."
    error = ApiError(status, message, code=code, error_type=error_type)
    if code == "moderation_blocked":
        stage = refusal.status.removeprefix("refused_")
        error.more = {"moderation_details": {"moderation_stage": stage}}
    return error
