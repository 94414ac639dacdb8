"""The helpers of the CPU kernels: every job is done, and over when who gave it goes on."""

import os
import sys
import threading
import time

import numpy as np
import pytest
from minigen_kernels import backend_of, cpu
from minigen_kernels.cpu import threads
from minigen_kernels.cpu.jit import jit
from minigen_kernels.cpu.jobs import (
    BOARDS,
    CORE,
    COUNTERS,
    HELPERS,
    STATE,
    WORDS,
    call_helpers,
    finish,
    serve,
)
from minigen_kernels.cpu.simd import await_counter, next_task

PATIENCE = 20  # seconds; a test that has to wait so long has failed


@pytest.fixture
def two(monkeypatch):
    """Two threads, however many cores there are."""
    monkeypatch.setattr(threads, "get_threads", lambda: 2)


@jit(nogil=True)
def meet(tasks, came, looks):
    """Count who comes; wait for a second one."""
    call_helpers(tasks)
    next_task(came, 0)
    await_counter(came, 0, 2, looks)


@jit(nogil=True)
def mark(tasks, is_open, done, late):
    """Task t: done[t] += 1, and late if nobody waits for it any more."""
    call_helpers(tasks)
    t = next_task(tasks, 0)
    while t < done.size:
        done[t] += 1
        if is_open[0] == 0:
            late[0] += 1
        t = next_task(tasks, 0)
    if is_open[0] == 0 and t < done.size + 2:
        late[0] += 1


@jit(nogil=True)
def fail(tasks, on_giver, came, looks):
    """Both come, then one of them fails while the other one still works."""
    giver = tasks[HELPERS] > 0
    call_helpers(tasks)
    next_task(came, 0)
    await_counter(came, 0, 2, looks)
    if giver == on_giver:
        raise ArithmeticError("here")
    await_counter(came, 0, 3, looks // 1000)
    came[1] += 1


def await_the_helper():
    """Until it has come to a job: then it looks out for the next one, which is compiled already."""
    fail(np.zeros(COUNTERS, np.int64), True, np.zeros(2, np.int64), 1)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        came = np.zeros(1, np.int64)
        threads.on_all_threads(meet, came, threads._looks(0.1))
        if came[0] == 2:
            return
    raise AssertionError("no helper has come")


@pytest.mark.parametrize("rest", [0, 0.02])  # seconds: the helper looks out, or is asleep
def test_a_helper_does_one_job_after_another(two, rest):
    met, looks, until = 0, threads._looks(0.2), time.monotonic() + 60
    while met < 5:  # on a busy machine, a helper that is being woken misses some, perhaps most
        assert time.monotonic() < until, f"{met} met"
        time.sleep(rest)
        came = np.zeros(1, np.int64)
        threads.on_all_threads(meet, came, looks)
        met += int(came[0] == 2)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell the core")
def test_a_helper_leaves_the_core_of_the_giver():
    """Two threads that never sleep may stay on one core for long, beside an idle one."""
    cores = os.sched_getaffinity(0)
    board, core = np.zeros(WORDS, np.int64), min(cores)
    board[CORE] = core
    try:
        os.sched_setaffinity(0, {core})
        assert serve(board, 1, 1) is False and threads._leave(core) is False
        os.sched_setaffinity(0, cores)
        if len(cores) > 1:
            # The system may bring it back at once, but not always.
            assert any(threads._leave(core) and serve(board, 1, 1) for _ in range(50))
            assert os.sched_getaffinity(0) == cores
        board[CORE] = -1  # nobody has given a job yet
        assert serve(board, 1, 1) is True
    finally:
        os.sched_setaffinity(0, cores)


def test_a_job_that_was_not_begun_is_taken_back():
    boards, came = np.zeros((1, WORDS), np.int64), np.zeros(1, np.int64)  # nobody looks at these
    for job in (1, 2):
        counters = np.zeros(COUNTERS, np.int64)
        counters[BOARDS], counters[HELPERS] = boards.ctypes.data, 1
        meet(counters, came, 1)
        assert boards[0, STATE] == 3 * job - 2 and counters[HELPERS] == 0
        assert finish(boards, 1) == 0 and boards[0, STATE] == 3 * job
    assert came[0] == 2  # from the calls here, one each


def test_who_has_begun_is_waited_for():
    boards = np.zeros((1, WORDS), np.int64)
    boards[0, STATE] = 2  # given and begun
    assert finish(boards, 1) == 1 and boards[0, STATE] == 2
    boards[0, STATE] = 3
    assert finish(boards, 1) == 0 and boards[0, STATE] == 3


def test_no_task_is_lost_and_none_outlives_its_call(two):
    """At every length of job and of rest, whoever comes first."""
    is_open, late = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for k in range(3000):
        done = np.zeros(1 + 7 * (k % 50), np.int64)
        is_open[0] = 1
        threads.on_all_threads(mark, is_open, done, late)
        is_open[0] = 0
        assert (done == 1).all()
        if k % 7 == 0:
            time.sleep(k % 4 * 5e-4)
    assert late[0] == 0


def failing(on_giver):
    """The error, and what `came` counts, of a job that both threads have come to."""
    for _ in range(100):
        await_the_helper()
        came = np.zeros(2, np.int64)
        try:
            threads.on_all_threads(fail, on_giver, came, threads._looks(0.1))
            error = None
        except (ArithmeticError, RuntimeError) as found:
            error = found
        if came[0] >= 2:
            return error, came
    raise AssertionError("no helper has come")


def test_a_failure_on_a_helper_reaches_the_giver_once(two):
    error, came = failing(on_giver=False)
    assert isinstance(error, RuntimeError) and "fail failed on another thread" in str(error)
    assert came[1] == 1
    await_the_helper()


def test_a_failure_is_raised_after_all_threads_are_done(two):
    error, came = failing(on_giver=True)
    assert isinstance(error, ArithmeticError) and came[1] == 1


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
