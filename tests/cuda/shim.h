// Runs CUDA C++ kernels on the CPU: each thread of a block is a fiber, and barriers and shuffles are the
// points at which it gives way to the others. Included by common.cuh when an ordinary C++ compiler reads it.
//
// What it finds: missing barriers (by the order of the threads, which is an argument), shared memory and
// outputs read before they were written (they start as NaN), threads that wait for one another for ever,
// shuffles without all lanes, wrong types of arguments, and, in a build with -fsanitize=address,undefined,
// everything these find. An asynchronous copy arrives at the last possible moment, when it is waited for.
// What it cannot show: time, bank conflicts, the rounding of sums inside a tensor core.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <ucontext.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __noinline__
#undef __launch_bounds__
#undef __restrict__
#undef __align__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __restrict__
#define __align__(n) alignas(n)

namespace shim {

constexpr int LANES = 32;
constexpr unsigned FULL = 0xffffffffu;
constexpr size_t STACK = size_t(1) << 18;
constexpr char POISON = char(0xff);  // NaN in every float type, -1 in every integer
constexpr char CANARY = char(0x5a);

struct Dim {
    unsigned x, y, z;
    unsigned count() const { return x * y * z; }
    Dim at(unsigned i) const { return {i % x, i / x % y, i / (x * y)}; }
};

struct Barrier {
    int expected = 0, arrived = 0;
    unsigned generation = 0;
};

struct Copy {
    void* to;
    const void* from;
    int bytes, zeros;
};

struct Fiber {
    ucontext_t context;
    jmp_buf jump;
    std::unique_ptr<char[]> stack;
    bool made, started, done;
    Dim thread;
    const Barrier* barrier;  // what it waits for, and since which generation
    unsigned generation;
    std::vector<std::vector<Copy>> copies;  // groups of asynchronous copies; the last one is open
    void* fake_stack = nullptr;
};

struct alignas(16) Slot {
    char bytes[64];
};

inline std::vector<Fiber> fibers;
inline std::vector<Slot> slots;  // one per thread: what the lanes of a warp exchange
inline std::vector<Barrier> warps;
inline Barrier whole;
inline int current;
inline Dim block_index, block_size, grid_size;
inline ucontext_t scheduler_context;
inline jmp_buf scheduler;
inline std::function<void()> body;
inline std::string failure;
inline unsigned long progress;
inline std::unique_ptr<char[]> dynamic;
inline char* dynamic_start;

#if defined(__SANITIZE_ADDRESS__)
// Sanitizers know of fibers only what they are told.
inline void* scheduler_fake;
inline const void* scheduler_stack;
inline size_t scheduler_bytes;

inline void yield() {
    Fiber& fiber = fibers[current];
    __sanitizer_start_switch_fiber(&fiber.fake_stack, scheduler_stack, scheduler_bytes);
    swapcontext(&fiber.context, &scheduler_context);
    __sanitizer_finish_switch_fiber(fibers[current].fake_stack, nullptr, nullptr);
}
inline void resume(int index) {
    current = index;
    Fiber& fiber = fibers[index];
    __sanitizer_start_switch_fiber(&scheduler_fake, fiber.stack.get(), STACK);
    swapcontext(&scheduler_context, &fiber.context);
    __sanitizer_finish_switch_fiber(scheduler_fake, nullptr, nullptr);
}
inline void entered() { __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_bytes); }
#else
// As swapcontext, without its two system calls.
__attribute__((noinline)) inline void yield() {
    if (!_setjmp(fibers[current].jump)) _longjmp(scheduler, 1);
}
__attribute__((noinline)) inline void resume(int index) {
    current = index;
    if (_setjmp(scheduler)) return;
    Fiber& fiber = fibers[index];
    if (fiber.started) _longjmp(fiber.jump, 1);
    fiber.started = true;
    setcontext(&fiber.context);
}
inline void entered() {}
#endif

inline void fail(const std::string& why) {
    if (failure.empty()) failure = why;
    for (;;) yield();
}

inline void release(Barrier& barrier) {
    barrier.arrived = 0;
    barrier.generation++;
    progress++;
}

inline void wait(Barrier& barrier) {
    if (++barrier.arrived == barrier.expected) return release(barrier);
    Fiber& fiber = fibers[current];
    fiber.barrier = &barrier;
    fiber.generation = barrier.generation;
    while (barrier.generation == fiber.generation) yield();
    fiber.barrier = nullptr;
}

inline void leave(Barrier& barrier) {
    barrier.expected--;
    if (barrier.expected && barrier.arrived == barrier.expected) release(barrier);
}

inline Barrier& warp() { return warps[current / LANES]; }

// A fiber serves one block after another.
inline void run_fiber() {
    entered();
    for (;;) {
        body();
        fibers[current].done = true;
        progress++;
        leave(whole);
        leave(warp());
        yield();
    }
}

// Shared memory of a block: allocated by its exact size, so that a sanitizer sees its ends.
struct SharedArray {
    inline static std::vector<SharedArray*> all;
    std::unique_ptr<char[]> storage;
    char* data;
    size_t bytes;

    explicit SharedArray(size_t size) : storage(new char[size + 16]), bytes(size) {
        data = storage.get() + (16 - reinterpret_cast<uintptr_t>(storage.get()) % 16) % 16;
        poison();
        all.push_back(this);
    }
    void poison() { std::memset(data, POISON, bytes); }
};

inline void make(Fiber& fiber) {
    if (!fiber.stack) fiber.stack.reset(new char[STACK]);
    std::memset(fiber.stack.get(), CANARY, 16);
    fiber.made = true;
    fiber.started = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
}

inline void start_block(Dim index, size_t dynamic_bytes) {
    block_index = index;
    std::memset(dynamic_start, POISON, dynamic_bytes);
    for (SharedArray* array : SharedArray::all) array->poison();
    int threads = int(block_size.count());
    whole = Barrier{threads, 0, 0};
    for (int w = 0; w < int(warps.size()); w++) warps[w] = Barrier{std::min(LANES, threads - w * LANES), 0, 0};
    for (int i = 0; i < threads; i++) {
        Fiber& fiber = fibers[i];
        if (!fiber.made) make(fiber);
        fiber.done = false;
        fiber.thread = block_size.at(unsigned(i));
        fiber.barrier = nullptr;
        fiber.copies.resize(1);
        fiber.copies[0].clear();
    }
}

inline std::vector<int> arranged(int count, int order, std::mt19937& random) {
    std::vector<int> indices(size_t(count), 0);
    for (int i = 0; i < count; i++) indices[i] = i;
    if (order == 1) std::reverse(indices.begin(), indices.end());
    if (order > 1) std::shuffle(indices.begin(), indices.end(), random);
    return indices;
}

// Every thread of these that can go on does so once; whether that led anywhere.
inline bool advance(const std::vector<int>& threads) {
    unsigned long before = progress;
    for (int i : threads) {
        const Fiber& fiber = fibers[i];
        bool waits = fiber.barrier && fiber.barrier->generation == fiber.generation;
        if (!fiber.done && !waits) resume(i);
        if (!failure.empty()) return false;
    }
    return progress != before;
}

// Orders 0 and 1 let each warp run as far ahead of the others as barriers allow; the others take all threads
// in turns, shuffled each time.
inline bool round_of(int order, std::mt19937& random) {
    const int threads = int(block_size.count());
    if (order > 1) return advance(arranged(threads, order, random));
    bool led = false;
    for (int w : arranged(threads / LANES, order, random)) {
        std::vector<int> lanes = arranged(LANES, order, random);
        for (int& lane : lanes) lane += w * LANES;
        while (advance(lanes)) led = true;
    }
    return led;
}

inline void run_block(int order, std::mt19937& random) {
    while (whole.expected && failure.empty())
        if (!round_of(order, random) && failure.empty())
            failure = "the threads of a block wait for one another for ever";
    if (!failure.empty()) return;
    for (int i = 0; i < int(block_size.count()); i++)
        if (std::count(fibers[i].stack.get(), fibers[i].stack.get() + 16, CANARY) != 16)
            failure = "a thread needs more stack than the shim gives it";
}

struct Launch {
    Dim grid, block;
    int64_t shared_bytes;
    int32_t order;
};

inline const char* launch(const Launch& how, std::function<void()> kernel) {
    grid_size = how.grid;
    block_size = how.block;
    body = std::move(kernel);
    failure.clear();
    if (!block_size.count() || block_size.count() % LANES || block_size.count() > 1024)
        return "a block needs whole warps, and at most 1024 threads";
    if (fibers.empty()) fibers = std::vector<Fiber>(1024);
    slots.resize(1024);
    warps.resize(block_size.count() / LANES);
    dynamic.reset(new char[size_t(how.shared_bytes) + 16]);
    dynamic_start = dynamic.get() + (16 - reinterpret_cast<uintptr_t>(dynamic.get()) % 16) % 16;
    std::mt19937 random(unsigned(how.order));
    for (int i : arranged(int(grid_size.count()), how.order, random)) {
        start_block(grid_size.at(unsigned(i)), size_t(how.shared_bytes));
        run_block(how.order, random);
        if (failure.empty()) continue;
        for (Fiber& fiber : fibers) fiber.made = false;  // left somewhere in the kernel
        return failure.c_str();
    }
    return nullptr;
}

// Arguments come with the names of their types and are compared with the kernel's own signature.
struct Argument {
    char type[16];  // NumPy's name; empty for a null pointer
    int32_t is_array, is_writable;
    union {
        void* pointer;
        int32_t int32;
        int64_t int64;
        float float32;
        double float64;
    };
};

template <class T> const char* type_name() {
    if (std::is_same<T, float>::value) return "float32";
    if (std::is_same<T, double>::value) return "float64";
    if (std::is_same<T, __half>::value) return "float16";
    if (std::is_same<T, __nv_bfloat16>::value) return "bfloat16";
    if (std::is_same<T, int>::value) return "int32";
    if (std::is_same<T, long long>::value) return "int64";
    if (std::is_same<T, unsigned char>::value) return "uint8";
    return "a type that no array has";
}

template <class A> std::string mismatch(const Argument& given) {
    using T = std::remove_pointer_t<A>;
    constexpr bool is_pointer = std::is_pointer<A>::value;
    const std::string expected = type_name<std::remove_cv_t<T>>(), found = given.type;
    if (is_pointer != bool(given.is_array)) return is_pointer ? "needs an array" : "needs a number";
    if (is_pointer && found.empty()) return "";
    if (found != expected) return "is " + found + ", the kernel takes " + expected;
    if (is_pointer && !std::is_const<T>::value && !given.is_writable) return "is written to, and read-only";
    return "";
}

template <class A> A unpacked(const Argument& given) {
    if constexpr (std::is_pointer<A>::value) return static_cast<A>(given.pointer);
    else if constexpr (std::is_same<A, float>::value) return given.float32;
    else if constexpr (std::is_same<A, double>::value) return given.float64;
    else if constexpr (std::is_same<A, int>::value) return given.int32;
    else {
        static_assert(std::is_same<A, long long>::value, "a kernel takes pointers, int, long long, float and double");
        return given.int64;
    }
}

template <class... A, size_t... I>
const char* enter(void (*kernel)(A...), const Launch* how, const Argument* given, std::index_sequence<I...>) {
    const std::string wrong[] = {mismatch<A>(given[I])...};
    for (size_t i = 0; i < sizeof...(A); i++)
        if (!wrong[i].empty()) {
            failure = "argument " + std::to_string(i) + " " + wrong[i];
            return failure.c_str();
        }
    return launch(*how, [=] { kernel(unpacked<A>(given[I])...); });
}

template <class... A>
const char* enter(void (*kernel)(A...), const Launch* how, const Argument* given, int count) {
    if (count != int(sizeof...(A))) {
        failure = std::to_string(count) + " arguments, the kernel takes " + std::to_string(sizeof...(A));
        return failure.c_str();
    }
    return enter(kernel, how, given, std::index_sequence_for<A...>());
}

// What the lanes of a warp exchange. Every lane has to take part.
inline int lane() { return current % LANES; }
inline int warp_start() { return current - lane(); }

inline void together() {
    if (warp().expected != LANES) fail("a warp exchanges values although some of its threads have ended");
    wait(warp());
}

template <class T> void publish(const T& value) {
    static_assert(sizeof(T) <= sizeof(Slot), "too large to be exchanged");
    std::memcpy(slots[current].bytes, &value, sizeof(T));
    together();
}

template <class T> T published(int from_lane) {
    T value;
    std::memcpy(&value, slots[warp_start() + from_lane].bytes, sizeof(T));
    return value;
}

template <class T> T shuffled(unsigned mask, T value, int from_lane) {
    if (mask != FULL) fail("a shuffle of some lanes only");
    publish(value);
    T result = published<T>(from_lane & (LANES - 1));
    together();
    return result;
}

inline float half_of(unsigned word, bool upper, __half) {
    __half_raw raw;
    raw.x = static_cast<unsigned short>(upper ? word >> 16 : word & 0xffffu);
    return __half2float(__half(raw));
}
inline float half_of(unsigned word, bool upper, __nv_bfloat16) {
    __nv_bfloat16_raw raw;
    raw.x = static_cast<unsigned short>(upper ? word >> 16 : word & 0xffffu);
    return __bfloat162float(__nv_bfloat16(raw));
}

}  // namespace shim

#define threadIdx (shim::fibers[shim::current].thread)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)
#define __syncthreads() shim::wait(shim::whole)
#define __syncwarp(...) shim::together()
#define SHARED(type, name, count)                                \
    static shim::SharedArray name##_array(sizeof(type) * (count)); \
    type* name = reinterpret_cast<type*>(name##_array.data)
#define DYNAMIC_SHARED(name) char* name = shim::dynamic_start
#define EXPORT(name)                                                                                 \
    extern "C" __attribute__((visibility("default"))) const char* host_##name(                       \
        const shim::Launch* how, const shim::Argument* given, int count) {                           \
        return shim::enter(name, how, given, count);                                                 \
    }

template <class T> T __shfl_sync(unsigned mask, T value, int from) { return shim::shuffled(mask, value, from); }
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits) {
    return shim::shuffled(mask, value, shim::lane() ^ bits);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, int by) {
    return shim::shuffled(mask, value, std::min(shim::lane() + by, shim::LANES - 1));
}
using std::max;
using std::min;
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }

// The twins of mma.cuh: the same names, the layouts of the PTX manual (section 9.7.14.5).
namespace shim {

struct Operands {
    unsigned a[4], b[2];
};

// d (16x8) += a (16xK) b (Kx8); `element(word, k)` reads one element, `per` of them lie in a word.
template <int K, int PER, class Element>
void multiplied(float d[4], const unsigned a[4], const unsigned b[2], Element element) {
    Operands mine;
    std::memcpy(mine.a, a, sizeof mine.a);
    std::memcpy(mine.b, b, sizeof mine.b);
    publish(mine);
    const int l = lane();
    for (int e = 0; e < 4; e++) {
        const int row = (l >> 2) + (e >= 2 ? 8 : 0), column = (l & 3) * 2 + (e & 1);
        double sum = 0;
        for (int k = 0; k < K; k++) {
            const bool later = k >= K / 2;
            const int part = (k % (K / 2)) / PER;
            const Operands left = published<Operands>((row & 7) * 4 + part);
            const Operands right = published<Operands>(column * 4 + part);
            sum += double(element(left.a[(row >= 8) + 2 * later], k)) * element(right.b[later], k);
        }
        d[e] = float(double(d[e]) + sum);
    }
    together();
}

template <class T> void mma_16(float d[4], const unsigned a[4], const unsigned b[2]) {
    multiplied<16, 2>(d, a, b, [](unsigned word, int k) { return half_of(word, k & 1, T()); });
}

template <bool TRANSPOSED> void load_matrices(unsigned r[4], const void* row) {
    publish(row);
    const int l = lane();
    for (int m = 0; m < 4; m++) {
        unsigned short pair[2];
        for (int j = 0; j < 2; j++) {
            const int from = TRANSPOSED ? (l & 3) * 2 + j : l >> 2, column = TRANSPOSED ? l >> 2 : (l & 3) * 2 + j;
            std::memcpy(&pair[j], static_cast<const char*>(published<const void*>(m * 8 + from)) + 2 * column, 2);
        }
        r[m] = pair[0] | unsigned(pair[1]) << 16;
    }
    together();
}

inline void arrive(const std::vector<Copy>& group) {
    for (const Copy& copy : group) {
        std::memcpy(copy.to, copy.from, size_t(copy.bytes));
        std::memset(static_cast<char*>(copy.to) + copy.bytes, 0, size_t(copy.zeros));
    }
}

}  // namespace shim

inline void mma_m16n8k16(float d[4], const unsigned a[4], const unsigned b[2], __nv_bfloat16) {
    shim::mma_16<__nv_bfloat16>(d, a, b);
}
inline void mma_m16n8k16(float d[4], const unsigned a[4], const unsigned b[2], __half) {
    shim::mma_16<__half>(d, a, b);
}
inline void mma_m16n8k8_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
    shim::multiplied<8, 1>(d, a, b, [](unsigned word, int) {
        word &= 0xffffe000u;  // the hardware ignores the lower 13 bits
        float value;
        std::memcpy(&value, &word, 4);
        return value;
    });
}
inline void ldmatrix_x4(unsigned r[4], const void* row) { shim::load_matrices<false>(r, row); }
inline void ldmatrix_x4_trans(unsigned r[4], const void* row) { shim::load_matrices<true>(r, row); }
inline unsigned movmatrix_trans(unsigned a) {
    shim::publish(a);
    const int l = shim::lane();
    unsigned result = 0;
    for (int j = 0; j < 2; j++) {
        const int row = (l & 3) * 2 + j, column = l >> 2;
        const unsigned word = shim::published<unsigned>(row * 4 + (column >> 1));
        result |= (word >> (column & 1) * 16 & 0xffffu) << 16 * j;
    }
    shim::together();
    return result;
}
inline void copy_async_16(void* to, const void* from, int bytes) {
    if (reinterpret_cast<uintptr_t>(to) % 16 || (bytes && reinterpret_cast<uintptr_t>(from) % 16))
        shim::fail("an asynchronous copy that is not aligned to 16 bytes");
    shim::fibers[shim::current].copies.back().push_back({to, from, bytes, 16 - bytes});
}
inline void copy_async_commit() { shim::fibers[shim::current].copies.emplace_back(); }
template <int LEFT> void copy_async_wait() {
    auto& copies = shim::fibers[shim::current].copies;
    while (int(copies.size()) - 1 > LEFT) {
        shim::arrive(copies.front());
        copies.erase(copies.begin());
    }
}
