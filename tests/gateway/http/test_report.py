"""What is told of finished requests."""

import pytest

from gateway.http.record import Record
from gateway.http.report import Report
from gateway.observability.metrics import Metrics
from tests.support.gateway_client import CHAT


class Choosy:
    """A decision log that cannot take a record of the request "bad"."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    def finished(self, record: Record) -> None:
        if record.request_id == "bad":
            raise OverflowError
        self.taken.append(record.request_id)


async def test_a_record_that_cannot_be_told_of_costs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    log = Choosy()
    report = Report(Metrics([]), logs_access=False, decision_log=log)  # type: ignore[arg-type]
    for name in ("one", "bad", "two"):
        report.finished(Record(CHAT, name))
    report.tell()
    assert log.taken == ["one", "two"]
    assert [record.getMessage() for record in caplog.records] == ["record_lost"]
