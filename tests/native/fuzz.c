/* Random instructions, page tables, CSRs, devices and requests on a native
 * build of cpu/, with what a hart must never do turned into a crash:
 *
 * - the linear memory is surrounded by, and has between its areas, pages that
 *   nobody may touch, so an access that leaves guest RAM and the core's own
 *   tables ends the process;
 * - undefined behaviour traps (the test's compiler flags);
 * - after each program every TLB entry must lead into RAM and every field must
 *   hold a legal value.
 *
 *     fuzz <image> <seed> <programs>
 *
 * The image (tests/core/test_native.py writes it): struct Machine as the plan
 * fills it, then a count and (mask, match) of each instruction.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "mmu/bus.h"
#include "hart/csr.h"
#include "virtio/disk.h"
#include "mmu/mmu.h"
#include "virtio/mmio.h"
#include "virtio/queue.h"

void machine_init(void);
uint32_t hart_run(uint32_t hart, uint32_t budget, uint32_t flags);
void hart_start(uint32_t hart, uint64_t pc, uint64_t a0, uint64_t a1, uint32_t privilege);
uint32_t disk_claim(uint32_t disk, uint32_t chunk);
uint32_t disk_place(uint32_t disk, uint32_t chunk);
void disk_filled(uint32_t disk, uint32_t chunk, uint32_t place, uint32_t status);
void uart_input(void);
void virtio_input(uint32_t slot);
uint64_t translate(uint32_t hart, uint64_t va, uint32_t access);

uint8_t *linear_memory;

#define RESERVED (6ull << 30) /* whatever a 32-bit offset and a long access reach */
#define PAGE 4096u
enum { BLOCK = 0, CONSOLE = 1, BLOCK_ID = 2, CONSOLE_ID = 3 };
enum { DISK_CHUNKS = 12, DISK_FRAMES = 4 }; /* a disk that its cache cannot hold; 5 chunks of memory */

static uint8_t pristine[sizeof(struct Machine)];
static struct { uint32_t mask, match; } *instruction;
static uint32_t instructions;
static uint64_t state, seed, program;

static uint64_t any(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

static uint64_t below(uint64_t n) { return (any() >> 11) % n; }

#define REQUIRE(condition)                                                                                       \
    do {                                                                                                         \
        if (!(condition)) {                                                                                      \
            fprintf(stderr, "seed %llu, program %llu: %s does not hold\n", (unsigned long long)seed,             \
                    (unsigned long long)program, #condition);                                                    \
            exit(1);                                                                                             \
        }                                                                                                        \
    } while (0)

static void permit(uint32_t offset, uint64_t bytes)
{
    REQUIRE(mprotect(linear_memory + offset, (bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1), PROT_READ | PROT_WRITE) == 0);
}

static void set_up(FILE *image)
{
    REQUIRE(fread(pristine, sizeof pristine, 1, image) == 1 && fread(&instructions, 4, 1, image) == 1);
    instruction = calloc(instructions, 8);
    REQUIRE(fread(instruction, 8, instructions, image) == instructions);
    linear_memory = mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(linear_memory != MAP_FAILED);
    const struct Machine *m = (const struct Machine *)(const void *)pristine;
    permit(MACHINE_BASE, sizeof(struct Machine));
    permit(HART_BASE, MAX_HARTS * HART_STRIDE);
    permit(RING_BASE, 4 * RING_SIZE);
    permit(RAM_OFFSET, m->blob_offset + m->blob_bytes - RAM_OFFSET);
}

static uint8_t *ram(uint64_t at) { return (uint8_t *)ram_byte((uint32_t)at); }

static uint64_t address(void)
{
    static const uint64_t devices[] = {0x100000, 0x101000, 0x2000000, 0x2004000, 0x200bff8, 0xc000000, 0xc200000,
                                       0x10000000, 0x10001000, 0x10002000, 0x10008000};
    uint64_t near = MACHINE->ram_bytes;
    switch (below(8)) {
    case 0: return any();
    case 1: return devices[below(sizeof devices / sizeof *devices)] + below(0x100) * (below(2) ? 4 : 1);
    case 2: return RAM_BASE + near - below(16);
    case 3: return below(1ull << 39) & ~0xfffull;
    default: return RAM_BASE + (below(near) & ~(below(4) ? 7ull : 0));
    }
}

static uint32_t word(void)
{
    if (below(16) == 0)
        return (uint32_t)any();
    uint32_t pick = (uint32_t)below(instructions), bits = (uint32_t)any();
    uint32_t made = (bits & ~instruction[pick].mask) | instruction[pick].match;
    return below(32) ? made : made ^ 1u << below(32);
}

/* Tables whose entries lead into RAM, to each other, or astray. */
static void page_tables(void)
{
    uint32_t pages = (uint32_t)(MACHINE->ram_bytes / PAGE);
    for (uint32_t table = 0; table < 8; table++)
        for (uint32_t i = 0; i < 512; i++) {
            uint64_t to = (RAM_BASE >> 12) + (below(3) ? below(8) + 8 : below(pages)), flags = any() & 0xff;
            uint64_t entry = to << 10 | (below(4) ? 0xc1 | flags : below(2) ? 1 : flags);
            if (below(64) == 0)
                entry ^= 1ull << below(64);
            memcpy(ram((8 + table) * PAGE + i * 8), &entry, 8);
        }
}

static void queue(struct Virtio *v, struct Virtqueue *q)
{
    q->num = 1u << below(9);
    q->desc = RAM_BASE + (below(MACHINE->ram_bytes) & ~15ull);
    q->avail = RAM_BASE + (below(MACHINE->ram_bytes) & ~1ull);
    q->used = RAM_BASE + (below(MACHINE->ram_bytes) & ~3ull);
    q->ready = queue_valid(q, 256); /* as the device does before it lets a queue be ready */
    v->status = 15;
    v->driver_features = v->device_features;
    uint8_t *parts[] = {ram_at(q->desc, 16 * q->num), ram_at(q->avail, 6 + 2 * q->num)};
    for (uint32_t i = 0; parts[0] && i < q->num; i++) {
        struct { uint64_t address; uint32_t length; uint16_t flags, next; } d = {
            below(4) ? RAM_BASE + below(MACHINE->ram_bytes) : any(), (uint32_t)(below(4) ? below(2048) : any()),
            (uint16_t)below(8), (uint16_t)below(q->num + 1)};
        memcpy(parts[0] + 16 * i, &d, 16);
    }
    if (parts[1]) {
        uint16_t head = (uint16_t)(q->last_avail + below(4));
        memcpy(parts[1] + 2, &head, 2);
    }
}

/* A disk whose cache has few frames, in any state that it can be in. */
static void disk_state(void)
{
    struct Machine *m = MACHINE;
    struct Disk *d = &m->disk[0];
    uint32_t at = m->blob_offset;
    memset(mem_at(at), 0, m->blob_bytes);
    memset(d, 0, sizeof *d);
    d->slot = BLOCK;
    d->chunks = DISK_CHUNKS;
    d->bytes = (uint64_t)DISK_CHUNKS * DISK_CHUNK - 512 * below(128);
    d->frames = DISK_FRAMES;
    d->durable = (uint32_t)below(2);
    d->map_offset = at;
    d->marks_offset = at + 4 * DISK_CHUNKS;
    d->frame_offset = at + 8 * DISK_CHUNKS;
    d->data_offset = at + 16 * DISK_CHUNKS;
    for (uint32_t i = 0; i < DISK_CHUNKS; i++)
        disk_marks(d)[i] = (uint8_t)below(2);
    for (uint32_t i = 0; i < 6; i++) { /* chunks that came, and ones that could not */
        uint32_t chunk = (uint32_t)below(DISK_CHUNKS);
        if (!disk_claim(0, chunk))
            continue;
        uint32_t status = (uint32_t)below(4), place = status == 0 ? disk_place(0, chunk) : 0;
        disk_filled(0, chunk, place, status == 0 && !place ? 2 : status);
    }
    m->virtio[BLOCK].disk = 0;
}

static void devices(void)
{
    struct Machine *m = MACHINE;
    for (uint32_t i = 0; i < 2; i++) {
        struct Virtio *v = &m->virtio[i];
        v->device_id = i == BLOCK ? BLOCK_ID : CONSOLE_ID;
        v->backend = i == BLOCK ? VIRTIO_BACKEND_BLOCK : VIRTIO_BACKEND_CONSOLE;
        v->device_features = 1ull << 32 | 1ull << 29 | 1ull << 28 | (i == BLOCK ? 1u << 13 | 1u << 14 | 1u << 9 : 1);
        v->queue_count = i + 1;
        v->queue_max = 256;
        v->config_size = 64;
    }
    disk_state();
    struct Ring *rings[] = {&m->uart.tx, &m->uart.rx, &m->virtio[CONSOLE].tx, &m->virtio[CONSOLE].rx};
    for (uint32_t i = 0; i < 4; i++) {
        rings[i]->offset = RING_BASE + i * RING_SIZE;
        rings[i]->head = (uint32_t)any();
        rings[i]->tail = rings[i]->head - (uint32_t)below(RING_SIZE + 1);
    }
}

static void hart_state(uint32_t number)
{
    static const uint16_t csrs[] = {0x100, 0x104, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142, 0x144, 0x14d, 0x180, 0x300,
                                    0x302, 0x303, 0x304, 0x305, 0x306, 0x30a, 0x320, 0x341, 0x344, 0x3a0, 0x3a2, 0x3b0,
                                    0x3b1, 0x3b2, 0xb00, 0x001, 0x002, 0x003};
    struct Hart *h = hart_at(number);
    hart_start(number, RAM_BASE + 2 * below(8 * PAGE / 2), any(), any(), (uint32_t)below(4));
    for (uint32_t i = 1; i < 32; i++) {
        h->x[i] = below(4) ? address() : any() >> below(64);
        h->f[i] = any() | (below(2) ? 0xffffffffull << 32 : 0);
    }
    csr_set(h, 0x3b0, (1ull << 54) - 1);
    csr_set(h, 0x3a0, 0x1f);
    csr_set(h, 0x300, any());
    csr_set(h, 0x305, RAM_BASE + below(4 * PAGE));
    csr_set(h, 0x105, RAM_BASE + below(4 * PAGE));
    if (below(2))
        csr_set(h, 0x180, (below(2) ? 8ull : 9ull) << 60 | below(4) << 44 | ((RAM_BASE >> 12) + 8 + below(8)));
    for (uint32_t i = 0; i < 4; i++)
        csr_set(h, csrs[below(sizeof csrs / sizeof *csrs)], below(2) ? any() : address());
}

static void check_tables(const struct Hart *h)
{
    const struct Machine *m = MACHINE;
    uint64_t entries = 1ull << m->tlb_bits, mask = ~0ull << (m->tlb_bits + 11);
    for (uint32_t table = 0; table < 2 * TLB_SETS; table++) {
        if (!(h->set_ready >> table / 2 & 1))
            continue;
        const uint64_t *at = mem_at(m->tlb_offset + h->id * m->tlb_stride + table * (8u << m->tlb_bits));
        for (uint64_t i = 0; i < entries; i++) {
            /* The address this entry is for has index i; the bits above come from the entry itself. */
            uint64_t va = (at[i] & mask << 1) | i << 12, d = at[i] ^ va;
            if (d & mask)
                continue;
            REQUIRE(d < m->ram_bytes);
            if (table & 1)
                REQUIRE(!(((const uint8_t *)mem_at(m->page_flags_offset))[d / PAGE] & PAGE_CODE));
        }
    }
}

static void check(const struct Hart *h)
{
    REQUIRE(h->x[0] == 0);
    REQUIRE(h->privilege == PRIV_U || h->privilege == PRIV_S || h->privilege == PRIV_M);
    REQUIRE((h->mstatus >> 11 & 3) != 2);
    REQUIRE(!(h->pc & 1) && !(h->mepc & 1) && !(h->sepc & 1));
    REQUIRE(h->frm < 8 && h->fcsr_flags < 32);
    REQUIRE(h->satp >> 60 == 0 || h->satp >> 60 == 8 || h->satp >> 60 == 9);
    REQUIRE(h->mem_mode < TLB_SETS && h->active == 0 && h->executing == 0);
    REQUIRE(MACHINE->ram_bytes == ((struct Machine *)(void *)pristine)->ram_bytes && MACHINE->running_harts == 0);
}

static void run_program(void)
{
    struct Machine *m = MACHINE;
    memcpy(m, pristine, sizeof pristine);
    memset(mem_at(HART_BASE), 0, MAX_HARTS * HART_STRIDE);
    m->firmware = below(2) ? FIRMWARE_BUILTIN : FIRMWARE_GUEST;
    machine_init();
    devices();
    for (uint32_t i = 0; i < 8 * PAGE; i += 4) {
        uint32_t w = word();
        memcpy(ram(i), &w, 4);
    }
    page_tables();
    for (uint32_t i = 0; i < m->hart_count; i++)
        hart_state(i);
    for (uint32_t turn = 0; turn < 8 && !m->stop_reason; turn++) {
        uint32_t slot = (uint32_t)below(2);
        queue(&m->virtio[slot], &m->virtio[slot].queue[below(slot + 1)]);
        for (uint32_t i = 0; i < 2; i++)
            bus_write(NULL, 0x10001050 + 0x1000 * slot, 4, i);
        virtio_input(CONSOLE);
        uart_input();
        translate(0, address(), (uint32_t)below(3));
        for (uint32_t i = 0; i < m->hart_count; i++) {
            struct Hart *h = hart_at(i);
            uint64_t before = h->instret, budget = 1 + below(1000), exact = below(2) ? RUN_EXACT : 0;
            hart_run(i, (uint32_t)budget, RUN_NOWAIT | (uint32_t)exact);
            REQUIRE(!exact || h->instret - before <= budget);
            check(h);
            if (below(2)) { /* somewhere else, with other mappings */
                ram_written(RAM_BASE + 8 * PAGE, 8 * PAGE);
                h->x[1 + below(31)] = address();
            }
        }
    }
    for (uint32_t i = 0; i < m->hart_count; i++) {
        hart_serve(hart_at(i)); /* what the other asked for last */
        check_tables(hart_at(i));
    }
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fprintf(stderr, "usage: %s <image> <seed> <programs>\n", arguments[0]);
        return 2;
    }
    FILE *image = fopen(arguments[1], "rb");
    REQUIRE(image);
    set_up(image);
    fclose(image);
    seed = strtoull(arguments[2], NULL, 0);
    uint64_t programs = strtoull(arguments[3], NULL, 0), retired = 0, traps = 0;
    for (program = 0; program < programs; program++) {
        state = (seed * 0x9e3779b97f4a7c15ull + program + 1) * 0xbf58476d1ce4e5b9ull | 1;
        for (int i = 0; i < 8; i++)
            any();
        run_program();
        for (uint32_t i = 0; i < MACHINE->hart_count; i++) {
            retired += hart_at(i)->instret;
            traps += hart_at(i)->stat_traps;
        }
    }
    printf("%llu %llu\n", (unsigned long long)retired, (unsigned long long)traps);
    return 0;
}
