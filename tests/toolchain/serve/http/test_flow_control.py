from unittest.mock import Mock

from toolchain.serve.http.flow_control import Flow


def test_a_held_connection_is_not_read_until_it_is_released():
    transport = Mock()
    flow = Flow(transport)
    flow.hold()
    transport.pause_reading.assert_called_once_with()
    flow.resume_reading()
    transport.resume_reading.assert_not_called()
    flow.release()
    transport.resume_reading.assert_called_once_with()
