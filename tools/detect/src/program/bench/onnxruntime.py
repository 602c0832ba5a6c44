# The peer of `detect bench --onnxruntime`: for each line with a number N on stdin, times N runs of the model and answers
# with a line of JSON. Arguments: MODEL THREADS SIDE.
import json, sys, time
try:
    import numpy, onnxruntime
except ImportError as missing:
    sys.exit(f"{missing}; pip install onnxruntime")
model, threads, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
image = numpy.sin(numpy.arange(3 * side * side, dtype=numpy.float32) * numpy.float32(0.37))
inputs = {session.get_inputs()[0].name: image.reshape(1, 3, side, side)}

def peak_mb():
    # Not getrusage: its peak is also that of the process which started this one.
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
    except OSError:
        return None

for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter()
        session.run(None, inputs)
        times.append(1e3 * (time.perf_counter() - start))
    answer = {"version": onnxruntime.__version__, "times_ms": times, "peak_rss_mb": peak_mb()}
    print(json.dumps(answer), flush=True)
