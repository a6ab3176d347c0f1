/* Atomics on shared memory and the locks made of them.
 *
 * All of a machine's words that two threads touch go through these.  A lock is
 * one u32: 0 free, 1 held, 2 held and waited for (Drepper, "Futexes Are
 * Tricky", mutex 2).  Only workers take locks, so waiting is allowed.
 */
#ifndef HARTWELL_ATOMICS_H
#define HARTWELL_ATOMICS_H

#include <stdbool.h>
#include <stdint.h>

static inline uint32_t atomic_get(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
static inline void atomic_set(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t atomic_add(uint32_t *p, uint32_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t atomic_bits_on(uint32_t *p, uint32_t v) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }
static inline uint32_t atomic_bits_off(uint32_t *p, uint32_t v) { return __atomic_fetch_and(p, ~v, __ATOMIC_SEQ_CST); }
static inline uint32_t atomic_swap(uint32_t *p, uint32_t v) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }

/* Sleeps while *p == value, at most `ns` nanoseconds (negative: for ever). */
static inline void word_wait(uint32_t *p, uint32_t value, int64_t ns)
{
#ifdef __wasm__
    __builtin_wasm_memory_atomic_wait32((int *)p, (int)value, ns);
#else
    (void)p, (void)value, (void)ns; /* native builds are single threaded tests */
#endif
}

static inline void word_wake(uint32_t *p)
{
#ifdef __wasm__
    __builtin_wasm_memory_atomic_notify((int *)p, ~0u);
#else
    (void)p;
#endif
}

static inline void lock(uint32_t *p)
{
    uint32_t seen = 0;
    if (__atomic_compare_exchange_n(p, &seen, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return;
    if (seen != 2)
        seen = atomic_swap(p, 2);
    while (seen != 0) {
        word_wait(p, 2, 1000000);
        seen = atomic_swap(p, 2);
    }
}

static inline void unlock(uint32_t *p)
{
    if (atomic_swap(p, 0) == 2)
        word_wake(p);
}

#endif
