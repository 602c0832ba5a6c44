#ifndef INTERTWINE_DETECT_H
#define INTERTWINE_DETECT_H

// Written by cbindgen from src/lib.rs. To write it again: INTERTWINE_BLESS=1 cargo test -p intertwine-detect-c

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a function returns.
typedef enum IntertwineStatus {
  // It did what it says.
  INTERTWINE_STATUS_OK = 0,
  // A pointer is NULL, or a number impossible; `intertwine_error` says which.
  INTERTWINE_STATUS_BAD_ARGUMENT = 1,
  // It failed; `intertwine_error` says why.
  INTERTWINE_STATUS_FAILED = 2,
} IntertwineStatus;

// A model made ready, with its buffers. Made by `intertwine_load` or `intertwine_load_bytes`, freed by
// `intertwine_free`.
typedef struct IntertwineDetector IntertwineDetector;

// A thing found in a picture. What its pointers point to lives until the next call for the same detector.
typedef struct IntertwineDetection {
  // Left edge, pixels of the picture.
  float x0;
  // Upper edge.
  float y0;
  // Right edge.
  float x1;
  // Lower edge.
  float y1;
  // Probability, 0 to 1.
  float score;
  // Place of its class in the model's list.
  uint32_t class_index;
  // The class's id in the data that the model was trained on.
  uint32_t category_id;
  // The class's name, UTF-8.
  const char *name;
  // The mask as COCO's run lengths, columns first: pixels outside, inside, outside, .. of the whole picture. NULL if
  // the model has no masks.
  const uint32_t *mask_runs;
  // How many runs.
  uintptr_t mask_run_count;
} IntertwineDetection;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Reads a model from a file. NULL if it cannot be used: then `error`, of `error_size` bytes, holds why, cut to fit and
// ending in zero; it may be NULL.
//
// # Safety
// `path` is NULL or ends in zero; `error` is NULL or has `error_size` bytes.
struct IntertwineDetector *intertwine_load(const char *path,
                                           char *error,
                                           uintptr_t error_size);

// Reads a model from memory, which is not needed afterwards. Otherwise as `intertwine_load`.
//
// # Safety
// `bytes` is NULL or has `size` bytes; `error` is NULL or has `error_size` bytes.
struct IntertwineDetector *intertwine_load_bytes(const uint8_t *bytes,
                                                 uintptr_t size,
                                                 char *error,
                                                 uintptr_t error_size);

// Frees a detector and all it gave out. NULL is allowed.
//
// # Safety
// `detector` is NULL or was made here and not freed before.
void intertwine_free(struct IntertwineDetector *detector);

// Side of the network's square input, pixels; pictures of any size are fitted into it. 0 for NULL.
//
// # Safety
// `detector` is NULL or was made here.
uint32_t intertwine_input_size(const struct IntertwineDetector *detector);

// How many classes the model knows. 0 for NULL.
//
// # Safety
// `detector` is NULL or was made here.
uintptr_t intertwine_class_count(const struct IntertwineDetector *detector);

// The name of a class, UTF-8, which lives as long as the detector. NULL if there is none.
//
// # Safety
// `detector` is NULL or was made here.
const char *intertwine_class_name(const struct IntertwineDetector *detector, uintptr_t class_index);

// How many threads may work on one picture; at first one.
//
// # Safety
// `detector` is NULL or was made here.
enum IntertwineStatus intertwine_set_threads(struct IntertwineDetector *detector, uintptr_t threads);

// The lowest score that is kept, 0 to 1; at first what the model recommends for people.
//
// # Safety
// `detector` is NULL or was made here.
enum IntertwineStatus intertwine_set_score(struct IntertwineDetector *detector, float score);

// Finds things in a picture: `rgb` holds three bytes a pixel (red, green, blue), a row every `stride` bytes, at least
// 3 * width. `found` then points to `count` detections, the strongest first, which live until the next call; if it fails, to
// none.
//
// # Safety
// `detector` is NULL or was made here; `rgb` is NULL or has (height - 1) * stride + 3 * width bytes; `found` and `count`
// are NULL or can be written.
enum IntertwineStatus intertwine_detect(struct IntertwineDetector *detector,
                                        const uint8_t *rgb,
                                        uint32_t width,
                                        uint32_t height,
                                        uintptr_t stride,
                                        const struct IntertwineDetection **found,
                                        uintptr_t *count);

// Why the last call for this detector failed, UTF-8, which lives until the next one. Empty if it did not.
//
// # Safety
// `detector` is NULL or was made here.
const char *intertwine_error(const struct IntertwineDetector *detector);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* INTERTWINE_DETECT_H */
