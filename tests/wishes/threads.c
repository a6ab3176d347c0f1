/* pthreads on several harts, with futexes. */
#include "wish.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { THREADS = 4, ROUNDS = 20000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static unsigned long guarded;
static atomic_ulong counted;
static int turn;
static _Thread_local unsigned long own;
static atomic_bool own_right = true;
static atomic_uint harts;

static void *work(void *argument)
{
    long number = (long)argument;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        guarded++;
        pthread_mutex_unlock(&mutex);
        atomic_fetch_add(&counted, 1);
        own += (unsigned long)number;
        atomic_fetch_or(&harts, 1u << sched_getcpu());
    }
    if (own != (unsigned long)number * ROUNDS)
        own_right = false;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 50; i++) { /* in turn, by a condition */
        pthread_mutex_lock(&mutex);
        while (turn % THREADS != number)
            pthread_cond_wait(&condition, &mutex);
        turn++;
        pthread_cond_broadcast(&condition);
        pthread_mutex_unlock(&mutex);
    }
    return (void *)(number * number);
}

/* Both sides of a hand-over that ordering alone makes right. */
static unsigned long message[64];
static atomic_uint sent;

static void *receive(void *argument)
{
    bool *right = argument;
    for (unsigned round = 1; round <= 20000; round++) {
        while (atomic_load_explicit(&sent, memory_order_acquire) < round)
            sched_yield();
        if (message[round % 64] != round * 7ul)
            *right = false;
        atomic_store_explicit(&sent, round | 1u << 31, memory_order_release);
        while (atomic_load_explicit(&sent, memory_order_relaxed) == (round | 1u << 31))
            sched_yield();
    }
    return NULL;
}

static void send(void)
{
    for (unsigned round = 1; round <= 20000; round++) {
        message[round % 64] = round * 7ul;
        atomic_store_explicit(&sent, round, memory_order_release);
        while (atomic_load_explicit(&sent, memory_order_acquire) == round)
            sched_yield();
        atomic_store_explicit(&sent, 0, memory_order_release);
    }
}

/* Spins while its partner does: only two harts at once let both get on. */
static atomic_ulong ping, pong;

static void *answer(void *argument)
{
    (void)argument;
    for (unsigned long i = 1; i <= 1000; i++) {
        while (atomic_load(&ping) < i) {
        }
        atomic_store(&pong, i);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (long i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
            fact(false, "a thread starts");
    bool joined = true;
    for (long i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        joined &= (long)result == i * i;
    }
    fact(joined, "threads are joined with their results");
    fact(guarded == THREADS * ROUNDS, "a mutex guards a counter");
    fact(counted == THREADS * ROUNDS, "an atomic counter loses nothing");
    fact(own_right, "each thread has its own thread-local storage");
    fact(turn == THREADS * 50, "a condition passes the turn round");

    bool right = true;
    pthread_t receiver;
    pthread_create(&receiver, NULL, receive, &right);
    send();
    pthread_join(receiver, NULL);
    fact(right, "release and acquire hand data over between harts");

    long count = sysconf(_SC_NPROCESSORS_ONLN);
    printf("HARTS %ld used %#x\n", count, atomic_load(&harts));
    if (count > 1) {
        fact(__builtin_popcount(atomic_load(&harts)) > 1, "the threads ran on more than one hart");
        pthread_create(&receiver, NULL, answer, NULL);
        for (unsigned long i = 1; i <= 1000; i++) {
            atomic_store(&ping, i);
            while (atomic_load(&pong) < i) {
            }
        }
        pthread_join(receiver, NULL);
        fact(true, "two threads that only spin for each other get on");
    }
    return wish_result();
}
