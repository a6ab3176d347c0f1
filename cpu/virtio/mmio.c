#include "virtio/mmio.h"

#include "mmu/bus.h"
#include "devices/plic.h"
#include "virtio/block.h"
#include "virtio/console.h"
#include "virtio/net.h"
#include "virtio/queue.h"

enum {
    MAGIC = 0x000, VERSION = 0x004, DEVICE_ID = 0x008, VENDOR_ID = 0x00c, DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SEL = 0x014, DRIVER_FEATURES = 0x020, DRIVER_FEATURES_SEL = 0x024, QUEUE_SEL = 0x030,
    QUEUE_NUM_MAX = 0x034, QUEUE_NUM = 0x038, QUEUE_READY = 0x044, QUEUE_NOTIFY = 0x050, INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064, STATUS = 0x070, QUEUE_DESC = 0x080, QUEUE_DRIVER = 0x090, QUEUE_DEVICE = 0x0a0,
    SHM_LEN_LOW = 0x0b0, SHM_BASE_HIGH = 0x0bc, CONFIG_GENERATION = 0x0fc, CONFIG = 0x100,
};

static uint32_t slot_irq(uint32_t slot) { return slot < 8 ? IRQ_VIRTIO + slot : IRQ_VIRTIO_MORE + slot - 8; }

static void update(struct Virtio *v)
{
    uint32_t slot = (uint32_t)(v - MACHINE->virtio);
    plic_set(slot_irq(slot), atomic_get(&v->interrupt_status) != 0);
}

void virtio_raise(struct Virtio *v, uint32_t bits)
{
    atomic_bits_on(&v->interrupt_status, bits);
    update(v);
}

void virtio_broken(struct Virtio *v)
{
    v->errors++;
    if (v->status & STATUS_NEEDS_RESET)
        return;
    atomic_bits_on(&v->status, STATUS_NEEDS_RESET);
    virtio_raise(v, 2);
}

static void reset(struct Virtio *v)
{
    v->driver_features = 0;
    v->device_features_sel = v->driver_features_sel = v->queue_sel = 0;
    atomic_set(&v->status, 0);
    atomic_set(&v->interrupt_status, 0);
    memset(v->queue, 0, sizeof v->queue);
    atomic_add(&v->reset_count, 1);
    if (v->device_id)
        update(v);
    if (v->backend == VIRTIO_BACKEND_PYTHON)
        doorbell_ring(DOORBELL_VIRTIO);
    if (v->backend == VIRTIO_BACKEND_BLOCK)
        virtio_block_reset(v);
}

void virtio_mmio_reset(void)
{
    for (uint32_t slot = 0; slot < MAX_VIRTIO; slot++) {
        struct Virtio *v = &MACHINE->virtio[slot];
        v->lock = 0;
        v->irq = slot_irq(slot);
        reset(v);
    }
}

/* A snapshot may come from anywhere: what the rest here relies on is so again. */
void virtio_woken(void)
{
    for (uint32_t slot = 0; slot < MAX_VIRTIO; slot++) {
        struct Virtio *v = &MACHINE->virtio[slot];
        v->irq = slot_irq(slot);
        if (v->queue_count > VIRTIO_QUEUES)
            v->queue_count = VIRTIO_QUEUES;
        if (v->config_size > sizeof v->config)
            v->config_size = sizeof v->config;
        for (uint32_t queue = 0; queue < VIRTIO_QUEUES; queue++)
            if (v->queue[queue].ready && !queue_valid(&v->queue[queue], v->queue_max))
                v->queue[queue].ready = 0;
    }
}

static uint32_t window(uint64_t features, uint32_t select)
{
    return select == 0 ? (uint32_t)features : select == 1 ? (uint32_t)(features >> 32) : 0;
}

static struct Virtqueue *selected(struct Virtio *v)
{
    return v->queue_sel < v->queue_count && v->queue_sel < VIRTIO_QUEUES ? &v->queue[v->queue_sel] : NULL;
}

/* The 64-bit register of the selected queue that an offset is half of. */
static uint64_t *queue_address(struct Virtqueue *q, uint32_t offset)
{
    switch (offset & ~4u) {
    case QUEUE_DESC: return &q->desc;
    case QUEUE_DRIVER: return &q->avail;
    case QUEUE_DEVICE: return &q->used;
    default: return NULL;
    }
}

static uint32_t read_register(struct Virtio *v, uint32_t offset)
{
    struct Virtqueue *q = selected(v);
    switch (offset) {
    case MAGIC: return 0x74726976;
    case VERSION: return 2;
    case DEVICE_ID: return v->device_id;
    case VENDOR_ID: return 0x554d4551; /* QEMU's: xv6 takes a disk from nobody else */
    case DEVICE_FEATURES: return window(v->device_features, v->device_features_sel);
    case QUEUE_NUM_MAX: return q ? v->queue_max : 0;
    case QUEUE_READY: return q ? q->ready : 0;
    case INTERRUPT_STATUS: return atomic_get(&v->interrupt_status);
    case STATUS: return v->status;
    case CONFIG_GENERATION: return atomic_get(&v->config_generation);
    default: /* a shared memory region that isn't there has a length of all ones */
        return offset >= SHM_LEN_LOW && offset <= SHM_BASE_HIGH ? ~0u : 0;
    }
}

bool virtio_mmio_read(uint32_t offset, uint32_t size, uint64_t *value)
{
    struct Virtio *v = &MACHINE->virtio[offset / 0x1000];
    offset %= 0x1000;
    *value = 0;
    if (offset >= CONFIG) {
        lock(&v->lock);
        for (uint32_t i = 0; i < size && offset - CONFIG + i < v->config_size; i++)
            *value |= (uint64_t)v->config[offset - CONFIG + i] << (8 * i);
        unlock(&v->lock);
        return true;
    }
    if (size != 4 || offset % 4)
        return false;
    lock(&v->lock);
    *value = read_register(v, offset);
    unlock(&v->lock);
    return true;
}

struct Virtqueue *virtio_live_queue(struct Virtio *v, uint32_t index)
{
    if (index >= v->queue_count || index >= VIRTIO_QUEUES || !v->queue[index].ready ||
        (v->status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) != STATUS_DRIVER_OK)
        return NULL;
    return &v->queue[index];
}

void virtio_serve(struct Virtio *v, uint32_t queue)
{
    struct Virtqueue *q = virtio_live_queue(v, queue);
    if (!q || virtio_held())
        return;
    switch (v->backend) {
    case VIRTIO_BACKEND_CONSOLE: virtio_console_notify(v, queue); break;
    case VIRTIO_BACKEND_BLOCK: virtio_block_notify(v, queue); break;
    case VIRTIO_BACKEND_NET: virtio_net_notify(v); break;
    case VIRTIO_BACKEND_PYTHON:
        atomic_set(&q->notified, 1);
        doorbell_ring(DOORBELL_VIRTIO);
        break;
    default: break;
    }
}

static void set_status(struct Virtio *v, uint32_t value)
{
    if (value == 0) {
        reset(v);
        return;
    }
    /* A driver that wants what we don't have, or speaks no modern virtio, is
     * told by FEATURES_OK staying clear (3.1.1).  6.2 leaves the second to the
     * device: a disk's requests are the same with and without, so it takes xv6,
     * which never looks at the upper half of the features. */
    bool version_1 = v->driver_features >> 32 & 1 || v->backend == VIRTIO_BACKEND_BLOCK;
    if (value & STATUS_FEATURES_OK && !(v->status & STATUS_FEATURES_OK) &&
        (v->driver_features & ~v->device_features || !version_1))
        value &= ~(uint32_t)STATUS_FEATURES_OK;
    bool starts = value & ~v->status & STATUS_DRIVER_OK;
    atomic_set(&v->status, (value & 0xff) | (v->status & STATUS_NEEDS_RESET));
    if (starts) /* what was made available before may be taken now */
        for (uint32_t queue = 0; queue < v->queue_count; queue++)
            virtio_serve(v, queue);
}

static void set_ready(struct Virtio *v, struct Virtqueue *q, uint32_t value)
{
    q->ready = 0;
    if (!(value & 1))
        return;
    q->last_avail = q->used_index = 0;
    if (queue_valid(q, v->queue_max))
        q->ready = 1;
    else
        virtio_broken(v);
}

static void write_register(struct Virtio *v, uint32_t offset, uint32_t value)
{
    struct Virtqueue *q = selected(v);
    uint64_t *address = q && !q->ready ? queue_address(q, offset) : NULL;
    if (address) {
        uint32_t shift = offset & 4 ? 32 : 0;
        *address = (*address & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
        return;
    }
    switch (offset) {
    case DEVICE_FEATURES_SEL: v->device_features_sel = value; break;
    case DRIVER_FEATURES_SEL: v->driver_features_sel = value; break;
    case DRIVER_FEATURES:
        if (v->driver_features_sel < 2 && !(v->status & STATUS_FEATURES_OK)) {
            uint32_t shift = v->driver_features_sel * 32;
            v->driver_features = (v->driver_features & ~(0xffffffffull << shift)) | (uint64_t)value << shift;
        }
        break;
    case QUEUE_SEL: v->queue_sel = value; break;
    case QUEUE_NUM:
        if (q && !q->ready)
            q->num = value;
        break;
    case QUEUE_READY:
        if (q)
            set_ready(v, q, value);
        break;
    case QUEUE_NOTIFY: virtio_serve(v, value); break;
    case INTERRUPT_ACK:
        atomic_bits_off(&v->interrupt_status, value);
        update(v);
        break;
    case STATUS: set_status(v, value); break;
    default: break;
    }
}

bool virtio_mmio_write(uint32_t offset, uint32_t size, uint64_t value)
{
    struct Virtio *v = &MACHINE->virtio[offset / 0x1000];
    offset %= 0x1000;
    if (offset < CONFIG && (size != 4 || offset % 4))
        return false;
    if (!v->device_id)
        return true;
    lock(&v->lock);
    if (offset >= CONFIG) {
        if (v->backend == VIRTIO_BACKEND_PYTHON) { /* those in C offer nothing that could be written */
            for (uint32_t i = 0; i < size && offset - CONFIG + i < v->config_size; i++)
                v->config[offset - CONFIG + i] = (uint8_t)(value >> (8 * i));
            atomic_add(&v->config_written, 1);
            doorbell_ring(DOORBELL_VIRTIO);
        }
    } else {
        write_register(v, offset, (uint32_t)value);
    }
    unlock(&v->lock);
    return true;
}
