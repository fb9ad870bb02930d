// The sequence that enters the first block: patches behind a class token, positions added.
#include "common.cuh"

// One block for each row of y (images, tokens, width); tokens = prefix + patches. `token` (width) stands in
// the first `prefix` rows of an image; the first `unplaced` rows get no position.
template <class T, int N>
__device__ __forceinline__ void place_row(const T* patches, const T* token, const T* positions, T* y, int tokens,
                                          int width, int prefix, int unplaced) {
    const long long row = blockIdx.x, image = row / tokens;
    const int at = int(row % tokens);
    const T* from = at < prefix ? token : patches + (image * (tokens - prefix) + at - prefix) * width;
    const T* position = at < unplaced ? nullptr : positions + (long long)(at - unplaced) * width;
    for (int i = threadIdx.x * N; i < width; i += blockDim.x * N) {
        Pack<T, N> value = load<N>(from + i);
        if (position) {
            const Pack<T, N> added = load<N>(position + i);
            for (int j = 0; j < N; j++)
                value.element[j] = from_float<T>(to_float(value.element[j]) + to_float(added.element[j]));
        }
        store<N>(y + row * width + i, value);
    }
}

template <class T>
__device__ __forceinline__ void place(const T* patches, const T* token, const T* positions, T* y, int tokens,
                                      int width, int prefix, int unplaced) {
    if (packable<T>(width, patches, token, positions, y))
        place_row<T, PACKED<T>>(patches, token, positions, y, tokens, width, prefix, unplaced);
    else
        place_row<T, 1>(patches, token, positions, y, tokens, width, prefix, unplaced);
}

#define PLACE(suffix)                                                                                         \
    extern "C" __global__ void place_##suffix(const suffix* patches, const suffix* token,                     \
                                              const suffix* positions, suffix* y, int tokens, int width,      \
                                              int prefix, int unplaced) {                                     \
        place(patches, token, positions, y, tokens, width, prefix, unplaced);                                 \
    }                                                                                                         \
    EXPORT(place_##suffix)

PLACE(f32)
PLACE(f16)
PLACE(bf16)
