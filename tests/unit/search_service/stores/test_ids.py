"""The engine's point ids."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from search_service.stores.protocol import ID_NAMESPACE, point_uuid


@given(st.text(min_size=1))
def test_a_points_uuid_is_the_uuid5_of_its_id(point_id):
    assert point_uuid(point_id) == str(uuid.uuid5(ID_NAMESPACE, point_id))
