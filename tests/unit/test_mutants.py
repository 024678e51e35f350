"""The catalogue of mutants is kept up with the code: what each of them changes is there, once."""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.runner import Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda each: each.name)
def test_what_it_changes_is_there(mutant: Mutant) -> None:
    assert mutant.applied()
