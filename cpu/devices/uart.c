#include "devices/uart.h"

#include "mmu/bus.h"
#include "devices/plic.h"
#include "machine/ring.h"

enum { THR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { IER_RDI = 1, IER_THRI = 2, IER_MASK = 15 };
enum { LCR_DLAB = 0x80, MCR_LOOP = 0x10 };
enum { IIR_NONE = 1, IIR_THRE = 2, IIR_RDA = 4, IIR_FIFOS = 0xc0 };
enum { FCR_ENABLE = 0x01, FCR_CLEAR_RX = 0x02, FIFO_BYTES = 16 };
enum { LSR_DR = 0x01, LSR_THRE = 0x20, LSR_TEMT = 0x40, MSR_READY = 0xb0 };

static struct Uart *uart(void) { return &MACHINE->uart; }

/* A full ring holds the transmitter back, as a slow line would. */
static bool can_send(const struct Uart *u) { return u->tx.offset == 0 || ring_room(&u->tx) > 0; }
static bool received(const struct Uart *u) { return u->rx.offset != 0 && ring_used(&u->rx) > 0; }

static uint8_t cause(const struct Uart *u)
{
    if (u->ier & IER_RDI && received(u))
        return IIR_RDA;
    if (u->ier & IER_THRI && u->thre_pending && can_send(u))
        return IIR_THRE;
    return IIR_NONE;
}

static void update(const struct Uart *u) { plic_set(IRQ_UART, cause(u) != IIR_NONE); }

static uint8_t take_cause(struct Uart *u)
{
    uint8_t now = cause(u);
    if (now == IIR_THRE) /* reading IIR acknowledges this one */
        u->thre_pending = 0;
    return now | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t take_byte(struct Uart *u)
{
    uint8_t byte = 0;
    ring_get(&u->rx, &byte);
    return byte;
}

static uint8_t modem_status(const struct Uart *u)
{
    if (!(u->mcr & MCR_LOOP))
        return MSR_READY;
    /* Loopback wires the outputs to the inputs: DTR RTS OUT1 OUT2 to DSR CTS RI DCD. */
    return (uint8_t)((u->mcr & 1) << 5 | (u->mcr & 2) << 3 | (u->mcr & 4) << 4 | (u->mcr & 8) << 4);
}

bool uart_read(uint32_t offset, uint32_t size, uint64_t *value)
{
    struct Uart *u = uart();
    (void)size; /* as QEMU's: any size does a byte's access */
    lock(&u->lock);
    bool latch = u->lcr & LCR_DLAB;
    switch (offset & 7) {
    case THR: *value = latch ? u->dll : take_byte(u); break;
    case IER: *value = latch ? u->dlm : u->ier; break;
    case IIR: *value = take_cause(u); break;
    case LCR: *value = u->lcr; break;
    case MCR: *value = u->mcr; break;
    case LSR: *value = (received(u) ? LSR_DR : 0) | (can_send(u) ? LSR_THRE | LSR_TEMT : 0); break;
    case MSR: *value = modem_status(u); break;
    default: *value = u->scr; break;
    }
    update(u);
    unlock(&u->lock);
    return true;
}

bool uart_write(uint32_t offset, uint32_t size, uint64_t value)
{
    struct Uart *u = uart();
    bool sent = false;
    uint8_t v = (uint8_t)value, ignored;
    (void)size;
    lock(&u->lock);
    bool latch = u->lcr & LCR_DLAB;
    switch (offset & 7) {
    case THR:
        if (latch) {
            u->dll = v;
        } else if (!(u->mcr & MCR_LOOP)) {
            sent = ring_put(&u->tx, v);
            u->tx.lost += !sent;
            u->thre_pending = 1;
        }
        break;
    case IER:
        if (latch) {
            u->dlm = v;
        } else {
            if (v & ~u->ier & IER_THRI)
                u->thre_pending = 1;
            u->ier = v & IER_MASK;
        }
        break;
    case IIR: /* FCR when written */
        /* What is beyond the FIFO is still on the line. */
        if (v & FCR_CLEAR_RX)
            for (uint32_t i = 0; i < FIFO_BYTES && ring_get(&u->rx, &ignored); i++) {
            }
        u->fcr = v & 0xc9;
        break;
    case LCR: u->lcr = v; break;
    case MCR: u->mcr = v & 0x1f; break;
    case SCR: u->scr = v; break;
    default: break;
    }
    update(u);
    unlock(&u->lock);
    if (sent)
        doorbell_ring(DOORBELL_CONSOLE);
    return true;
}

void uart_reset(void)
{
    struct Uart *u = uart();
    u->lock = 0;
    u->ier = u->lcr = u->mcr = u->scr = u->dll = u->dlm = u->fcr = u->thre_pending = 0;
}

uint64_t uart_take(uint8_t *to, uint64_t max)
{
    uint64_t done = 0;
    lock(&uart()->lock);
    while (done < max && ring_get(&uart()->rx, to + done))
        done++;
    update(uart());
    unlock(&uart()->lock);
    return done;
}

/* The supervisor put bytes into rx, or took some from a tx that was full. */
EXPORT void uart_input(void)
{
    lock(&uart()->lock);
    update(uart());
    unlock(&uart()->lock);
}
