"""What the sandbox refuses, in the API's own error bodies [docs]."""

from starlette.responses import JSONResponse


class RefusedError(Exception):
    """An answer of the API that is an error: an HTTP status, a documented reason, a sentence, details."""

    def __init__(self, status: int, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.metadata = metadata

    @property
    def response(self) -> JSONResponse:
        """The error as it goes over the wire."""
        body = {
            "code": self.status,
            "reason": self.reason,
            "message": self.message,
            "metadata": self.metadata,
        }
        return JSONResponse(body, self.status)
