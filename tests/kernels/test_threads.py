"""The helpers of the CPU kernels: every job is done, and over when who gave it goes on."""

import os
import threading
import time

import numpy as np
import pytest
from minigen_kernels import backend_of, cpu
from minigen_kernels.cpu import threads
from minigen_kernels.cpu.threads import Helper

PATIENCE = 20  # seconds; a test that has to wait so long has failed


def both(work, helper):
    """Give work to the helper, and return when it is done there: here, wait until it has begun."""
    begun = threading.Event()

    def job():
        begun.set()
        work()

    helper.give(job)
    assert begun.wait(PATIENCE)
    return helper.finish()


@pytest.mark.parametrize("rest", [0, 0.02])  # seconds: the helper looks out, or is asleep
def test_a_helper_does_one_job_after_another(rest):
    helper, done = Helper(), []
    for i in range(20):
        time.sleep(rest)
        assert both(lambda: (time.sleep(0.001), done.append(i)), helper) is None  # noqa: B023
        assert done == list(range(i + 1))  # the job was over when finish() returned


def test_a_job_that_was_not_begun_is_taken_back():
    helper, go, calls = Helper(), threading.Event(), []
    helper.give(lambda: go.wait(PATIENCE))
    while helper._jobs:  # until the helper has begun, and waits
        time.sleep(0.001)
    helper.give(calls.append, (1,))
    assert helper.finish() is None  # at once, though the helper is busy
    go.set()
    assert both(lambda: calls.append(2), helper) is None and calls == [2]


def test_no_job_is_lost_and_none_outlives_its_call():
    """Whoever comes first, at every length of job and of rest; Python switches threads often."""
    helper, is_open, late = Helper(), [False], []
    counts = np.zeros(2, np.int64)

    def job(k):
        late.extend([k] if not is_open[0] else [])
        counts[k % 2] += 1

    for k in range(3000):
        is_open[0] = True
        helper.give(job, (k,))
        if k % 7 == 0:
            time.sleep(k % 4 * 5e-4)
        begun = not helper._jobs
        assert helper.finish() is None
        is_open[0] = False
        assert not helper._jobs and counts.sum() >= begun
        counts[:] = 0
    assert late == []


def test_a_failure_on_a_helper_reaches_the_giver_once():
    helper = Helper()

    def fail():
        raise ArithmeticError("on one thread")

    assert isinstance(both(fail, helper), ArithmeticError)
    assert both(lambda: None, helper) is None


def test_a_failure_is_raised_after_all_threads_are_done(monkeypatch):
    monkeypatch.setattr(threads, "get_threads", lambda: 2)
    barrier, done = threading.Barrier(2, timeout=PATIENCE), []
    giver = threading.current_thread()

    def work():
        barrier.wait()
        if threading.current_thread() is giver:
            raise ArithmeticError("here")
        time.sleep(0.05)
        done.append(1)

    with pytest.raises(ArithmeticError, match="here"):
        threads.on_all_threads(work)
    assert done == [1]


def test_two_threads_of_python_get_their_own_results():
    a = np.random.default_rng(0).standard_normal((2, 256, 256)).astype(np.float32)
    alone = [backend_of(a).gemm(a[i], a[i]) for i in (0, 1)]
    wrong = []

    def use(i):
        for _ in range(100):
            if not np.array_equal(backend_of(a).gemm(a[i], a[i]), alone[i]):
                wrong.append(i)

    users = [threading.Thread(target=use, args=(i,)) for i in (0, 1)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork of a process with threads
def test_a_forked_child_has_helpers_of_its_own():
    a = np.ones((300, 300), np.float32)
    backend_of(a).gemm(a, a)
    child = os.fork()
    if child == 0:
        os._exit(0 if backend_of(a).gemm(a, a)[0, 0] == 300 else 1)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert status == 0
            return
        time.sleep(0.01)
    os.kill(child, 9)
    raise AssertionError("the child waits for threads that it does not have")


def test_idle_helpers_sleep():
    """They look out for about a millisecond only: a process that rests takes no time of a core."""
    a = np.ones((300, 300), np.float32)
    cpu.gemm.gemm_3_vectors(a, a)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1
