import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from router_training.routers.one_thread import one_thread


def threads() -> list[int]:
    return [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]


def test_inside_every_library_has_one_thread_and_afterwards_what_it_had() -> None:
    np.ones((2, 2)) @ np.ones((2, 2))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        outside = threads()
        with one_thread():
            assert set(threads()) == {1}
        assert threads() == outside
        with pytest.raises(RuntimeError), one_thread():
            raise RuntimeError
        assert threads() == outside
    finally:
        torch.set_num_threads(before)
