import pytest

import secagg
from tests.secagg.rounds import close, make_round


@pytest.mark.parametrize("malicious", [True, False])
def test_the_sum_is_in_the_transcript(malicious, tmp_path):
    round_ = make_round(malicious=malicious)
    protocol = secagg.MaskedSum(malicious_server=malicious)
    recorder = secagg.Recorder(drop={"upload": {"client-5"}})
    result = secagg.drive(round_.server, round_.clients, recorder)
    recorder.transcript.save(tmp_path / "t")
    again = secagg.replay_aggregate(
        protocol, round_.plan, secagg.Transcript.load(tmp_path / "t"), directory=round_.cohort.directory
    )
    assert (again.integers == result.integers).all()
    assert again.survivors == result.survivors
    assert close(again, round_.vectors)


def test_an_unfinished_round():
    round_ = make_round()
    round_.requests("confirm")
    with pytest.raises(secagg.RoundFailedError, match="ends before the sum"):
        secagg.replay_aggregate(secagg.MaskedSum(), round_.plan, round_.transcript, directory=round_.cohort.directory)
