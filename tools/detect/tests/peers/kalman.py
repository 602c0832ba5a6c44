"""The box that DeepSORT's Kalman filter expects, with matrices of eight dimensions; for src/track/motion.rs."""
import numpy as np

F, H = np.eye(8), np.eye(4, 8)
F[:4, 4:] = np.eye(4)


def measure(x0, y0, x1, y1):
    w, h = x1 - x0, y1 - y0
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, w / h, h])


def process(h):
    p, v = h / 20, h / 160
    return np.diag(np.square([p, p, 1e-2, p, v, v, 1e-5, v]))


z = measure(10, 20, 30, 60)
p, v = 2 * z[3] / 20, 10 * z[3] / 160
x, P = np.concatenate([z, np.zeros(4)]), np.diag(np.square([p, p, 1e-2, p, v, v, 1e-5, v]))
for box in [(12, 21, 32, 61), (15, 22, 35, 63), (17, 24, 38, 65), None]:
    Q = process(x[3])
    x, P = F @ x, F @ P @ F.T + Q
    if box:
        p = x[3] / 20
        R = np.diag(np.square([p, p, 1e-1, p]))
        K = P @ H.T @ np.linalg.inv(H @ P @ H.T + R)
        x, P = x + K @ (measure(*box) - H @ x), (np.eye(8) - K @ H) @ P
cx, cy, a, h = x[:4]
print([round(float(v), 4) for v in (cx - a * h / 2, cy - h / 2, cx + a * h / 2, cy + h / 2)])
