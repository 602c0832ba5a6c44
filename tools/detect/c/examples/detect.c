// Finds things in a picture in PPM form (P6) and prints them:
//   cc detect.c -I../include -L../../../../target/release -lintertwine_detect_c -o detect
//   ./detect model.onnx picture.ppm
#include "intertwine_detect.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL.onnx PICTURE.ppm\n", argv[0]);
        return 2;
    }
    char error[512];
    struct IntertwineDetector *detector = intertwine_load(argv[1], error, sizeof error);
    if (!detector) {
        fprintf(stderr, "%s\n", error);
        return 1;
    }

    unsigned width, height, most;
    FILE *file = fopen(argv[2], "rb");
    if (!file || fscanf(file, "P6 %u %u %u%*c", &width, &height, &most) != 3 || most != 255 || width == 0 ||
        width > 20000 || height == 0 || height > 20000) {
        fprintf(stderr, "%s: not a PPM picture of 8 bits\n", argv[2]);
        return 1;
    }
    size_t size = 3 * (size_t)width * height;
    uint8_t *rgb = malloc(size);
    if (!rgb || fread(rgb, 1, size, file) != size) {
        fprintf(stderr, "%s: shorter than its header says\n", argv[2]);
        return 1;
    }
    fclose(file);

    const struct IntertwineDetection *found;
    size_t count;
    if (intertwine_detect(detector, rgb, width, height, 3 * (size_t)width, &found, &count) != INTERTWINE_STATUS_OK) {
        fprintf(stderr, "%s\n", intertwine_error(detector));
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        printf("%s %.2f at %.0f %.0f %.0f %.0f, %zu runs\n", found[i].name, found[i].score, found[i].x0, found[i].y0,
               found[i].x1, found[i].y1, found[i].mask_run_count);
    }
    free(rgb);
    intertwine_free(detector);
    return 0;
}
