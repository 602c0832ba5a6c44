"""Prints what TensorBoard's own writer makes of a header and an event, for a test in src/run/events.rs.

pip install tensorboard
"""

import io

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

out = io.BytesIO()
writer = RecordWriter(out)
writer.write(Event(file_version="brain.Event:2").SerializeToString())
values = [Summary.Value(tag="loss", simple_value=0.5), Summary.Value(tag="probe/knn", simple_value=0.0)]
writer.write(Event(wall_time=12.25, step=7, summary=Summary(value=values)).SerializeToString())
print(out.getvalue().hex())
