"""What can go wrong in the operator, drawn once; foreign errors are mapped where they enter."""


class OperatorError(Exception):
    """Root of this package's errors."""


class SettingsError(OperatorError):
    """The operator was started with settings that it cannot work with."""


class NotLeaderError(OperatorError):
    """This replica does not hold the Lease (any more): nothing may be written."""


class ApiError(OperatorError):
    """The API server did not do what was asked."""

    def __init__(self, request: str, message: str, *, status: int | None = None) -> None:
        super().__init__(f"{request}: {message}")
        self.status = status
        """HTTP status; None where there was no answer."""


class ApiUnavailableError(ApiError):
    """No answer, 429 or 5xx: what was asked may be right, ask again later."""

    def __init__(
        self, request: str, message: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(request, message, status=status)
        self.retry_after = retry_after
        """Seconds that the server asks us to wait; None where it does not say."""


class ApiForbiddenError(ApiError):
    """401 or 403: rights are missing, or the namespace is being deleted."""


class ApiNotFoundError(ApiError):
    """404: the object or the whole kind is not there."""


class ApiConflictError(ApiError):
    """409: the object is another one, or another state of it, than we thought."""


class ApiRejectedError(ApiError):
    """Another 4xx: what we sent is wrong for this server; sending it again will not help."""
