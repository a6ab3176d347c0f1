"""Where every byte of a machine lies: the one description C and Python share.

A machine is one shared linear memory.  This module names the structures in
it, computes their offsets by C's rules (natural alignment) and writes
``cpu/generated/layout.h``, whose static assertions make a disagreement a
compile error.  Nothing here imports a platform.

Fixed part (same for every machine):

    0x0000_0000  C data of cpu.wasm, shared by all instances
    0x0010_0000  struct Machine        (MACHINE_BASE)
    0x0012_0000  struct Hart [8]       (HART_BASE, HART_STRIDE each)
    0x0020_0000  C stacks, one per hart and one for the supervisor (STACK_BASE)
    0x0030_0000  rings and device areas (RING_BASE)
    0x0040_0000  guest RAM (RAM_OFFSET)
                 after it the variable part, planned by `memory_plan.py` for a RAM size
                 and a number of harts; its offsets stand in struct Machine

Field types: u8 u16 u32 u64 f64, or the name of a structure above; a count
makes it an array.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache

LAYOUT_VERSION = 1
PAGE = 4096

MAX_HARTS = 8
MAX_VIRTIO = 16  # slots; QEMU `virt` has 8 (irq 1..8), ours go on with irq 16..23
VIRTIO_QUEUES = 4  # queues of one device
MAX_DISKS = 8
DISK_CHUNK = 0x1_0000  # bytes; also the cluster of a qcow2 file
PLIC_SOURCES = 64
PLIC_CONTEXTS = 2 * MAX_HARTS  # hart h: M = 2h, S = 2h+1 (QEMU's order)
TIME_GRID = 50_000
MAX_BREAKPOINTS = 256
MAX_WATCHPOINTS = 32
PAGE_WAITERS = 16  # threads that may wait for an absent page
SNAPSHOT_CHUNK = 65536  # bytes of RAM that are saved and fetched together
TRACE_SLOTS = 1 << 15  # of a hart's ring of records
TRACE_SLOT_BYTES = 32
TRACE_CALLS = 512  # system call numbers that have arguments described
TRACE_OPEN_CALLS = 1024  # calls that have not returned, of TRACE_OPEN_CALL_BYTES each
TRACE_OPEN_CALL_BYTES = 64

MACHINE_BASE = 0x0010_0000
HART_BASE = 0x0012_0000
HART_STRIDE = 0x1000
STACK_BASE = 0x0020_0000
STACK_SIZE = 0x1_0000  # per thread; thread MAX_HARTS is the supervisor
RING_BASE = 0x0030_0000
RING_SIZE = 0x1_0000  # bytes of one byte ring, a power of two
RAM_OFFSET = 0x0040_0000  # of guest RAM: a constant, so that generated code adds it for nothing; superpages stay aligned

NET_CARDS = 2  # network cards of a machine
NET_FRAME = 0x1_0000  # bytes kept for one Ethernet frame
NET_AREA = PAGE + 2 * NET_FRAME  # of one card: its bell, a frame each way

# The decoded-instruction cache of a hart: DECODE_SLOTS pages of guest code,
# each 2048 halfword positions plus an end marker, 8 bytes an entry.
DECODE_SLOTS = 768
DECODE_ENTRIES = 2048 + 8
DECODE_ENTRY_BYTES = 8
FETCH_TLB_ENTRIES = 1024
JOURNAL_ENTRIES = 4096
CODE_RING_ENTRIES = 4096  # page numbers of code pages written to

TLB_SETS = 4  # U, S, S with SUM, M (or untranslated)

# The translator (docs/translator.md).
JIT_REGIONS = 16384  # translations at a time
JIT_HASH = 65536  # buckets by physical pc
JIT_MODULES = 2048  # WebAssembly modules at a time
JIT_CODE_BYTES = 24 << 20  # their bytes
JIT_SLOTS = 12288  # of the function table
JIT_SEGMENTS = 4  # of all these; when there is no more room, the oldest one is emptied
JIT_JUMPS = 8192  # entries of a hart's jump cache
JIT_CROSSINGS = 256
JIT_INDIRECTS = 1024
JIT_KNOWN = 2048  # of a hart: jumps through registers that its translations knew of
JIT_AHEAD_REGIONS = 4096  # translations made ahead for an image, in one module; each has a slot behind JIT_SLOTS
JIT_AHEAD_BYTES = 384 << 10  # their table
JIT_AHEAD_MAGIC = 0x0001_7748  # "Hw", and the version of the table
JIT_QUEUE = 32  # hot places that a hart collects before it translates
JIT_REGION_PAGES = 4  # code pages one region may touch

RAM_BASE = 0x8000_0000  # guest physical

Field = tuple[str, str] | tuple[str, str, int]

STRUCTS: dict[str, list[Field]] = {
    # A byte ring with one writer and one reader. head: next byte to write,
    # tail: next to read; both count up for ever, masked by RING_SIZE - 1.
    "Ring": [("head", "u32"), ("tail", "u32"), ("offset", "u32"), ("lost", "u32")],
    # --- devices ---------------------------------------------------------
    "Aclint": [("lock", "u32"), ("msip", "u32", MAX_HARTS), ("mtimecmp", "u64", MAX_HARTS)],
    "Plic": [
        ("lock", "u32"),
        ("priority", "u32", PLIC_SOURCES),
        ("level", "u32", PLIC_SOURCES // 32),  # wires as devices drive them
        ("pending", "u32", PLIC_SOURCES // 32),
        ("claimed", "u32", PLIC_SOURCES // 32),
        ("enable", "u32", PLIC_CONTEXTS * PLIC_SOURCES // 32),  # [context][word]
        ("threshold", "u32", PLIC_CONTEXTS),
    ],
    "Uart": [
        ("lock", "u32"),
        ("ier", "u8"), ("lcr", "u8"), ("mcr", "u8"), ("scr", "u8"),
        ("dll", "u8"), ("dlm", "u8"), ("fcr", "u8"), ("thre_pending", "u8"),
        ("tx", "Ring"),  # guest -> host
        ("rx", "Ring"),  # host -> guest
    ],
    "Rtc": [
        ("lock", "u32"), ("irq_enabled", "u32"), ("alarm_running", "u32"),
        ("pending", "u32"), ("alarm_ns", "u64"), ("time_high", "u32"), ("pad", "u32"),
        ("offset_ns", "u64"),  # guest's set clock minus the host's
    ],
    "Virtqueue": [
        ("num", "u32"), ("ready", "u32"), ("desc", "u64"), ("avail", "u64"), ("used", "u64"),
        ("last_avail", "u16"), ("used_index", "u16"), ("notified", "u32"),
    ],
    "Virtio": [
        ("lock", "u32"),
        ("device_id", "u32"),  # 0: empty slot
        ("backend", "u32"),  # VIRTIO_BACKEND_*: who serves the queues
        ("irq", "u32"),
        ("device_features", "u64"), ("driver_features", "u64"),
        ("device_features_sel", "u32"), ("driver_features_sel", "u32"),
        ("queue_sel", "u32"), ("queue_count", "u32"), ("queue_max", "u32"),
        ("status", "u32"), ("interrupt_status", "u32"), ("config_generation", "u32"),
        ("config_size", "u32"),
        ("config_written", "u32"),  # counts driver's writes to config
        ("reset_count", "u32"),
        ("queue", "Virtqueue", VIRTIO_QUEUES),
        ("config", "u8", 256),
        # backend's own: console: rings; block: image
        ("tx", "Ring"), ("rx", "Ring"),
        ("image_offset", "u32"),  # net: its area
        ("disk", "u32"),  # block: index of its struct Disk
        ("requests", "u64"), ("errors", "u64"),
    ],
    # A disk's cache (cpu/virtio/disk.h): chunks that are here lie in frames.
    "Disk": [
        ("lock", "u32"),  # taken after the slot's
        ("slot", "u32"),
        ("bytes", "u64"),  # 0: there is no such disk
        ("chunks", "u32"), ("frames", "u32"),
        ("map_offset", "u32"),  # u32 per chunk: DISK_ABSENT, _WANTED, _FAILED, or DISK_FRAME + frame
        ("marks_offset", "u32"),  # u8 per chunk: DISK_ZERO, ...
        ("frame_offset", "u32"),  # struct Frame per frame
        ("data_offset", "u32"),  # DISK_CHUNK bytes per frame
        ("durable", "u32"),  # a guest's flush waits for a commit
        ("hand", "u32"), ("frames_used", "u32"),  # of the clock that evicts; frames ever used
        ("dirty", "u32"), ("zeroed", "u32"),  # frames, and chunks without a frame, that a commit has to write
        ("full", "u32"),  # the last commit failed: no frame can be made free by one
        ("spill", "u32"),  # a commit is wanted since frames run out
        ("wanted", "u32", 64), ("wanted_head", "u32"), ("wanted_tail", "u32"),  # chunks to be fetched
        ("commits_begun", "u32"), ("commits_done", "u32"), ("commit_failed", "u32"),  # the last two: numbers of commits
        ("parked", "u32"),  # bit per queue whose first request waits for a chunk, a frame or a commit
        ("disk_pad", "u32"),
        ("flush_ticket", "u32", VIRTIO_QUEUES),  # the commit that a queue's flush waits for, 0: none
        ("generation", "u64"),  # commits that the store holds
        ("misses", "u64"), ("fetched", "u64"), ("evicted", "u64"), ("failures", "u64"),
    ],
    "Frame": [("chunk", "u32"), ("flags", "u32")],  # FRAME_*
    # --- debugger (cpu/inspect/debug.h) ---------------------------------------------
    "DebugBreakpoint": [("address", "u64"), ("space", "u64"), ("flags", "u32"), ("pad", "u32")],  # flags: POINT_*
    "DebugWatchpoint": [
        ("address", "u64"), ("size", "u64"), ("space", "u64"),
        ("page", "u64", 2),  # a virtual one's first and last physical page, 0: not seen yet
        ("marked", "u64"), ("marked_bytes", "u64"),  # RAM that has PAGE_WATCHED because of it
        ("flags", "u32"),  # POINT_*, WATCH_*
        ("pad", "u32"),
    ],
    # Why a hart stands still. For DEBUG_DMA address is physical, in Debug.dma.
    "DebugStop": [
        ("reason", "u32"),  # DEBUG_*
        ("index", "u32"),  # in the table of break- or watchpoints
        ("address", "u64"), ("physical", "u64"), ("value", "u64"),
        ("size", "u32"), ("access", "u32"),
    ],
    "HartDebug": [
        ("hold", "u32"),  # 1: stands still though the machine runs
        ("over", "u32"),  # OVER_*: what the next instruction does not stop for
        ("break_seen", "u32"), ("watch_seen", "u32"),
        ("stop", "DebugStop"),
    ],
    "Debug": [
        ("breakpoint_count", "u32"), ("watchpoint_count", "u32"),
        ("break_generation", "u32"), ("watch_generation", "u32"),
        ("stop_all", "u32"),  # 1: a hart that hits something pauses the machine; 0: itself only
        ("pad", "u32"),
        ("break_pages", "u64"),  # a bit for each page that holds one, by hash
        ("dma", "DebugStop"),
        ("breakpoint", "DebugBreakpoint", MAX_BREAKPOINTS),
        ("watchpoint", "DebugWatchpoint", MAX_WATCHPOINTS),
    ],
    # --- snapshots (cpu/machine/snapshot.c) ------------------------------------------
    "Snapshot": [
        ("generation", "u8", 16),  # vmgenid: new after every wake
        ("requests", "u32"),  # rises with every page that somebody waits for; the storage worker watches it
        ("wanted", "u32", PAGE_WAITERS),  # RAM page + 1 that a thread waits for, 0: nobody
        ("still", "u32"),  # 1: devices leave their queues alone (devices_hold)
    ],
    # --- translator --------------------------------------------------------
    "JitPage": [("page", "u32"), ("generation", "u32")],
    # One translation: a function in a table slot.  `key`: halfword number of
    # its entry in RAM, plus 1; 0: free.
    "JitRegion": [
        ("key", "u32"), ("next", "u32"), ("slot", "u32"), ("module", "u32"),
        ("ranges", "u32"),  # offset of the u16 pairs (offset in window, bytes) of guest code it came from
        ("range_count", "u16"), ("insns", "u16"),
        ("hash", "u64"),  # of those bytes
        ("page_count", "u32"), ("entry_page", "u16"),  # index in pages of the entry's
        ("calls_itself", "u16"),  # by its number in its module: its function is of no use in another
        ("page", "JitPage", JIT_REGION_PAGES),  # consecutive virtual pages, RAM page numbers; NO_PAGE: not touched
    ],
    "JitModule": [("code", "u32"), ("bytes", "u32"), ("first_slot", "u32"), ("slots", "u32"), ("refused", "u32"),
                  ("pad", "u32")],
    # The table of translations made ahead (cpu/jit/ahead.c), as it lies in the file: this head, a
    # JitAhead for each function in the module's order, then all their ranges, pairs of u16 as in JitRegion.ranges.
    "JitAheadHead": [
        ("magic", "u32"), ("count", "u32"), ("ranges", "u32"),
        ("tlb_bits", "u32"), ("features", "u32"),  # what the code was made for: Machine.tlb_bits, Jit.features
        ("pad", "u32"),
    ],
    "JitAhead": [
        ("hash", "u64"),  # of its guest code
        ("ranges", "u32"),  # its first one's number
        ("range_count", "u16"), ("insns", "u16"),
        ("entry", "u16"),  # offset in its page
        ("touched", "u16"),  # a bit for each page of the window with code of it; bit 1: the entry's
        ("next", "u16"),  # cpu/jit/ahead.c's
        ("pad", "u16"),
    ],
    # The registry, one for all harts.
    "Jit": [
        ("lock", "u32"),
        ("threshold", "u32"),  # visits of a jump's target that make it hot; NEVER: no translator
        ("instances", "u32"),  # instances of cpu.wasm that ever translated
        ("epoch", "u32"),  # rises when a segment is emptied
        ("segment_modules", "u32"), ("segment_bytes", "u32"), ("segment_slots", "u32"),  # used of epoch modulo JIT_SEGMENTS
        ("region_count", "u32"), ("region_free", "u32"), ("region_live", "u32"),
        ("published", "u32"),  # counts modules whose regions can be found
        ("features", "u32"), ("full", "u32"),  # full: the engine takes no more modules, what there is goes on
        ("stat_modules", "u64"), ("stat_regions", "u64"), ("stat_insns", "u64"), ("stat_bytes", "u64"), ("stat_time_us", "u64"),
        ("stat_evictions", "u64"), ("stat_revalidated", "u64"), ("stat_stale", "u64"), ("stat_refused", "u64"),
        # from the first place in a queue to its translation: of all modules together, and the longest
        ("stat_waited_us", "u64"), ("stat_longest_wait_us", "u64"),
        ("ahead_bytes", "u32"),  # the owner has put a table there that no hart has looked at
        ("ahead_count", "u32"), ("ahead_live", "u32"), ("ahead_pad", "u32"),  # usable ones of the table; regions that are such
        ("stat_ahead", "u64"), ("stat_ahead_refused", "u64"),  # regions taken from it; tables refused
        # a bit for each page, by number modulo 4096: its code does without frames; and without groups, too
        ("stat_unframed", "u64"), ("unframed", "u64", 64),
        ("stat_ungrouped", "u64"), ("ungrouped", "u64", 64),
        ("crossed_since", "u64"),  # of the clock, in microseconds: when the first of these bits was set; 0: none is
    ],
    "JitIndirect": [("site", "u32"), ("target", "u32")],  # low halves of addresses
    "JitJump": [("tag", "u64"), ("slot", "u32"), ("pad", "u32")],
    # A hart's share, at Machine.jit_hart_offset: caches, valid for `instance`.
    "JitHart": [
        ("jump", "JitJump", JIT_JUMPS),
        ("installed", "u32", JIT_MODULES // 32),
        ("indirect", "JitIndirect", JIT_INDIRECTS),  # jumps through registers that the interpreter saw
        ("known", "JitIndirect", JIT_KNOWN),  # those that a translation knew of: the others are soon forgotten
        ("crossing", "u8", JIT_CROSSINGS),  # by pc: groups of accesses that crossed a page
        ("queue", "u64", JIT_QUEUE),
        ("queue_page", "u32", JIT_QUEUE),
        ("ahead", "u32"),  # AHEAD_*: has this instance the module made ahead?
        ("scattered", "u32"),  # strips that found no pages in a row, of late (cpu/jit/pace.c)
    ],
    # --- traces (cpu/inspect/trace.h) ------------------------------------------------
    "HartTrace": [
        ("head", "u32"), ("tail", "u32"),  # of the hart's ring, in slots; both count up for ever
        ("lost", "u32"), ("seed", "u32"),
        ("task", "u64"),  # at the last look
        ("sample_due", "u64"), ("looked", "u64"),  # mtime: of the next sample, of the last look at the clock
        ("stretch", "u32"), ("pad", "u32"),  # instructions between two looks, on average
    ],
    "Trace": [
        ("mask", "u32"),  # TRACE_SYSCALLS, ...: what is noted
        ("text_bytes", "u32"),  # the longest copy of what an argument points to
        ("sample_ticks", "u32"),  # of mtime between two samples, 0: none
        ("only_tgid", "u32"),  # system calls of this process only, 0: of all
        ("pid_offset", "u64"),  # in the guest's struct task_struct, where tgid follows; 0: not known
        ("entry_low", "u64"), ("entry_high", "u64"),  # the kernel's handle_exception
        ("call", "u32", TRACE_CALLS),  # 4 bits per argument, TRACE_STRING, ...; TRACE_CALL_*
    ],
    # --- machine ---------------------------------------------------------
    "Machine": [
        ("magic", "u32"), ("layout_version", "u32"),
        ("hart_count", "u32"), ("firmware", "u32"),  # FIRMWARE_*
        ("tlb_bits", "u32"),  # log2 of the entries of one TLB table
        ("ram_bytes", "u64"),
        # variable part; per-hart areas: base + hart * stride
        ("tlb_offset", "u32"), ("tlb_stride", "u32"),
        ("decode_offset", "u32"), ("decode_stride", "u32"),
        ("slot_map_offset", "u32"), ("slot_map_stride", "u32"),
        ("fetch_offset", "u32"), ("fetch_stride", "u32"),
        ("journal_offset", "u32"), ("journal_stride", "u32"),
        ("page_flags_offset", "u32"),  # u8 per RAM page, PAGE_*
        ("page_gen_offset", "u32"),  # u32 per RAM page: writes seen while it held code
        ("code_ring_offset", "u32"),
        ("chunk_dirty_offset", "u32"),  # u8 per SNAPSHOT_CHUNK of RAM, from dirty_take: CHUNK_*
        ("blob_offset", "u32"), ("blob_bytes", "u32"),  # disk image in memory
        ("net_offset", "u32"), ("net_pad", "u32"),  # NET_AREA bytes for each card, see cpu/virtio/net.c
        ("total_bytes", "u32"),
        ("trace_offset", "u32"), ("trace_stride", "u32"),  # TRACE_SLOTS for each hart
        ("trace_calls_offset", "u32"),
        # run control
        ("control", "u32"),  # CONTROL_*
        ("stop_reason", "u32"),  # STOP_*
        ("exit_code", "u32"),
        ("doorbell", "u32"),  # bits for the supervisor, DOORBELL_*; waited on
        ("doorbell_count", "u32"),  # rises with every ring; what waitAsync watches
        ("running_harts", "u32"),
        ("code_head", "u32"),  # invalidated code pages ever pushed to the code ring
        ("code_seq", "u32"),  # pages that became code: W-TLB shootdowns issued
        ("code_lock", "u32"),
        ("absent_pages", "u32"),  # RAM pages flagged PAGE_ABSENT (a lazy wake fills them)
        ("tohost", "u64"), ("fromhost", "u64"),  # guest physical, 0: none (HTIF)
        # time: mtime = (clock_us - time_base_us) * 10 + time_offset  (10 MHz)
        ("time_base_us", "f64"), ("time_offset", "u64"),
        ("time_frozen", "u32"),  # 1: mtime stands at time_offset
        ("time_mode", "u32"),  # TIME_REAL, TIME_INSTRET (10 MHz = instret / time_divisor)
        ("time_divisor", "u64"),
        ("time_lock", "u32"), ("time_pad", "u32"),  # control, running_harts and time_frozen change under it
        ("aclint", "Aclint"), ("plic", "Plic"), ("uart", "Uart"), ("rtc", "Rtc"),
        ("virtio", "Virtio", MAX_VIRTIO),
        ("disk", "Disk", MAX_DISKS),
        ("disk_bell", "u32"),  # rises when a disk's storage has work; waited on
        ("debug_ring", "Ring"),
        ("debug", "Debug"),
        ("snapshot", "Snapshot"),
        ("jit", "Jit"),
        ("jit_regions_offset", "u32"), ("jit_hash_offset", "u32"), ("jit_modules_offset", "u32"),
        ("jit_code_offset", "u32"), ("jit_hart_offset", "u32"), ("jit_hart_stride", "u32"),
        ("jit_counter_offset", "u32"), ("jit_counter_stride", "u32"),  # u16 for each decoded entry, then a bit for each
        ("jit_ahead_offset", "u32"), ("jit_ahead_pad", "u32"),
        ("trace", "Trace"),
    ],
    # --- hart ------------------------------------------------------------
    "Hart": [
        ("x", "u64", 33),  # x[32] takes writes to x0
        ("pc", "u64"),
        ("f", "u64", 32),  # NaN-boxed
        ("id", "u32"),
        ("privilege", "u32"),  # 0 U, 1 S, 3 M
        ("attention", "u32"),  # ATTENTION_* set by anyone; "look up from your work"
        ("state", "u32"),  # HART_*
        ("mip", "u32"),  # pending interrupt bits, atomically set and cleared
        ("mem_mode", "u32"),  # TLB set for loads and stores now
        ("fetch_mode", "u32"),
        # the tables of mem_mode: byte offsets, index mask (in bytes), bits of D
        # that must be 0 for a hit (see mmu.h)
        ("tlb_read", "u32"), ("tlb_write", "u32"),
        ("tlb_mask", "u32"), ("ram_bits", "u32"), ("tlb_hit", "u64"),
        ("fcsr_flags", "u32"), ("frm", "u32"),
        ("wake", "u32"),  # WFI waits on this word; notify after setting attention
        ("instret", "u64"), ("budget_end", "u64"),
        ("cycle_offset", "u64"), ("instret_offset", "u64"),
        # LR/SC
        ("reservation", "u64"), ("reservation_value", "u64"), ("reservation_valid", "u32"), ("reservation_size", "u32"),
        # trap being raised (C internal, valid while a trap unwinds)
        ("trap_cause", "u64"), ("trap_tval", "u64"), ("trap_pending", "u32"), ("trap_pad", "u32"),
        # M CSRs
        ("mstatus", "u64"), ("misa", "u64"), ("medeleg", "u64"), ("mideleg", "u64"),
        ("mie", "u64"), ("mtvec", "u64"), ("mscratch", "u64"), ("mepc", "u64"),
        ("mcause", "u64"), ("mtval", "u64"), ("mcounteren", "u64"), ("mcountinhibit", "u64"),
        ("menvcfg", "u64"), ("mseccfg", "u64"),
        ("pmpcfg", "u64", 2), ("pmpaddr", "u64", 16),
        ("mhpmcounter", "u64", 32), ("mhpmevent", "u64", 32),
        # S CSRs
        ("stvec", "u64"), ("sscratch", "u64"), ("sepc", "u64"), ("scause", "u64"),
        ("stval", "u64"), ("satp", "u64"), ("scounteren", "u64"), ("senvcfg", "u64"),
        ("stimecmp", "u64"), ("mtimecmp_shadow", "u64"),
        # SBI: HSM and remote fences
        ("hsm_state", "u32"),  # SBI HSM states (started 0, stopped 1, start pending 2, ...)
        ("hsm_pad", "u32"),
        ("hsm_start", "u64"), ("hsm_opaque", "u64"),
        ("rfence_kind", "u32"),  # RFENCE_* asked for, taken by exchange
        ("rfence_request", "u32"), ("rfence_ack", "u32"),
        ("executing", "u32"),  # 1 from before the attention check to after the last instruction
        ("active", "u32"),  # 1 while counted in Machine.running_harts
        ("seip_soft", "u32"),  # mip.SEIP as software wrote it
        ("code_seen", "u32"),  # code ring read up to here
        ("code_ack", "u32"),  # Machine.code_seq served up to here
        ("code_issued", "u32"),  # last Machine.code_seq this hart caused
        ("fetch_pin", "u32", 2),  # the two decoded pages in use, never evicted
        # TLB bookkeeping
        ("journal_count", "u32", 16),  # [set][R/W][non-global, global]
        ("set_ready", "u32"), ("fetch_gen", "u32", 2),  # of user code, of all other
        ("fetch_local", "u32"),  # was other code fetched from pages that are not global?
        ("decode_next", "u32"), ("decode_free", "u32"),
        ("page_wanted", "u32"),  # RAM page + 1 that this hart waits for
        # VA ranges that superpage entries came from: user half, kernel half
        ("super_low", "u64", 2), ("super_high", "u64", 2),
        # translator: generated code reads the first three
        ("jit_fuel", "u32"),  # instructions left until it has to come back; may go below 0
        ("jit_jumps", "u32"),  # offset of the jump cache
        ("jit_key", "u64"),  # XORed into the jump cache's tags: fetch generation and mode
        ("jit_value", "u64"),  # what a helper gives back
        ("jit_end", "u64"),  # instret = jit_end - jit_fuel while generated code runs
        ("jit_instance", "u32"), ("jit_epoch", "u32"), ("jit_queued", "u32"), ("jit_generation", "u32", 2),
        ("jit_exit", "u32"),  # the last slow exit's L_EXIT
        ("jit_due", "u64"),  # instret at which the queue is translated though it isn't full
        ("jit_look", "u64"),  # instret at which it is asked whether it has waited too long by the clock
        ("jit_since", "u64"),  # host clock, microseconds, when its first place came in
        ("jit_stretch", "u64"),  # instret up to which a region may run beyond its run's end
        ("jit_begun", "u64"), ("jit_begun_at", "u64"),  # instret and mtime at the last begin of a run
        ("fetch_seen", "u64", 128),  # filters of va pages fetched from since the last flush: user code, all other
        # statistics
        ("stat_jit_entries", "u64"), ("stat_jit_slow", "u64"), ("stat_jit_missed", "u64"), ("stat_jit_polls", "u64"),
        ("stat_jit_insns", "u64"), ("stat_jit_installed", "u64"), ("stat_jit_exact", "u64"),
        ("stat_traps", "u64"), ("stat_interrupts", "u64"), ("stat_tlb_misses", "u64"),
        ("stat_decoded", "u64"), ("stat_mmio", "u64"), ("stat_wfi", "u64"), ("stat_fence_i", "u64"),
        ("stat_sfence", "u64"),
        ("debug", "HartDebug"),
        ("trace", "HartTrace"),
    ],
}

CONSTANTS: dict[str, int] = {
    "LAYOUT_VERSION": LAYOUT_VERSION,
    "MACHINE_MAGIC": 0x4C57_5448,  # "HTWL"
    "MAX_DISKS": MAX_DISKS, "DISK_CHUNK": DISK_CHUNK,
    # a disk's map, below DISK_FRAME; its marks; a frame's flags
    "DISK_ABSENT": 0, "DISK_WANTED": 1, "DISK_FAILED": 2, "DISK_FRAME": 4,
    "DISK_ZERO": 1, "DISK_ZERO_DIRTY": 2, "DISK_ZERO_WRITING": 4,
    "FRAME_USED": 1, "FRAME_TOUCHED": 2, "FRAME_DIRTY": 4, "FRAME_WRITING": 8, "FRAME_FILLING": 16,
    "MAX_HARTS": MAX_HARTS, "MAX_VIRTIO": MAX_VIRTIO, "VIRTIO_QUEUES": VIRTIO_QUEUES,
    "MAX_BREAKPOINTS": MAX_BREAKPOINTS, "MAX_WATCHPOINTS": MAX_WATCHPOINTS,
    "PAGE_WAITERS": PAGE_WAITERS, "SNAPSHOT_CHUNK": SNAPSHOT_CHUNK,
    "PLIC_SOURCES": PLIC_SOURCES, "PLIC_CONTEXTS": PLIC_CONTEXTS,
    "MACHINE_BASE": MACHINE_BASE, "HART_BASE": HART_BASE, "HART_STRIDE": HART_STRIDE,
    "TRACE_SLOTS": TRACE_SLOTS, "TRACE_SLOT_BYTES": TRACE_SLOT_BYTES, "TRACE_CALLS": TRACE_CALLS,
    "TRACE_OPEN_CALLS": TRACE_OPEN_CALLS, "TRACE_MOST_TEXT": 1024,
    "STACK_BASE": STACK_BASE, "STACK_SIZE": STACK_SIZE,
    "RING_BASE": RING_BASE, "RING_SIZE": RING_SIZE, "RAM_OFFSET": RAM_OFFSET,
    "DECODE_SLOTS": DECODE_SLOTS, "DECODE_ENTRIES": DECODE_ENTRIES,
    "FETCH_TLB_ENTRIES": FETCH_TLB_ENTRIES, "JOURNAL_ENTRIES": JOURNAL_ENTRIES,
    "CODE_RING_ENTRIES": CODE_RING_ENTRIES, "TLB_SETS": TLB_SETS, "RAM_BASE": RAM_BASE,
    "JIT_REGIONS": JIT_REGIONS, "JIT_HASH": JIT_HASH, "JIT_MODULES": JIT_MODULES, "JIT_CODE_BYTES": JIT_CODE_BYTES,
    "JIT_SLOTS": JIT_SLOTS, "JIT_SEGMENTS": JIT_SEGMENTS,
    "JIT_AHEAD_REGIONS": JIT_AHEAD_REGIONS, "JIT_AHEAD_BYTES": JIT_AHEAD_BYTES, "JIT_AHEAD_MAGIC": JIT_AHEAD_MAGIC,
    "JIT_JUMPS": JIT_JUMPS, "JIT_CROSSINGS": JIT_CROSSINGS, "JIT_INDIRECTS": JIT_INDIRECTS, "JIT_KNOWN": JIT_KNOWN,
    "JIT_QUEUE": JIT_QUEUE, "JIT_REGION_PAGES": JIT_REGION_PAGES,
    "JIT_NEVER": 0xFFFF_FFFF,  # Jit.threshold
    "FIRMWARE_BUILTIN": 0, "FIRMWARE_GUEST": 1,  # guest: an M-mode image answers SBI
    # Machine.control
    "CONTROL_RUN": 0, "CONTROL_PAUSE": 1, "CONTROL_STOP": 2,
    # Machine.stop_reason
    "STOP_NONE": 0, "STOP_POWEROFF": 1, "STOP_REBOOT": 2, "STOP_EXIT": 3, "STOP_CRASH": 4,
    # Machine.doorbell bits
    "DOORBELL_CONSOLE": 1, "DOORBELL_VIRTIO": 2, "DOORBELL_STOP": 4, "DOORBELL_PAUSED": 8,
    "DOORBELL_PAGE": 16, "DOORBELL_DEBUG": 32, "DOORBELL_DISK": 64,
    # Hart.state
    "HART_RUNNING": 0, "HART_WFI": 1, "HART_PAUSED": 2, "HART_STOPPED": 3, "HART_OFF": 4,
    "RFENCE_CODE": 1, "RFENCE_TLB": 2,
    # Hart.attention bits: each more than any fuel of a region, so that one comparison polls both (cpu/jit/exit.c)
    "ATTENTION_INTERRUPT": 1 << 27, "ATTENTION_CONTROL": 1 << 28, "ATTENTION_CODE": 1 << 29, "ATTENTION_RFENCE": 1 << 30,
    # what hart_run returns
    "RUN_BUDGET": 0,  # budget used up: call again
    "RUN_WFI": 1,  # RUN_NOWAIT only: would have waited
    "RUN_PAUSED": 2,  # RUN_NOWAIT only: pause wanted, state is in memory
    "RUN_STOPPED": 3,  # the machine stopped (see Machine.stop_reason)
    "RUN_DEBUG_STOP": 4,  # RUN_STEER only: see Hart.debug.stop
    "RUN_NOWAIT": 1, "RUN_EXACT": 2,  # flags to hart_run
    "RUN_STEER": 4,  # the supervisor runs a hart whose own thread stands still (pause, hold)
    "RUN_STEP": 8,  # ends when a trap was taken, too; takes no interrupts
    "TIME_REAL": 0, "TIME_INSTRET": 1,
    "TIME_GRID": TIME_GRID,  # instructions; TIME_INSTRET's time moves at multiples of it
    # page_flags bits
    "PAGE_CODE": 1, "PAGE_DIRTY": 2, "PAGE_ABSENT": 4, "PAGE_WATCHED": 8,
    # flags of break- and watchpoints
    "POINT_PHYSICAL": 1, "POINT_SPACE": 2,  # by physical address; in the space of one root page table only
    "WATCH_READ": 4, "WATCH_WRITE": 8,
    # DebugStop.reason
    "DEBUG_NONE": 0, "DEBUG_BREAKPOINT": 1, "DEBUG_WATCHPOINT": 2, "DEBUG_DMA": 3,
    "OVER_BREAK": 1, "OVER_WATCH": 2,
    "DEBUG_BREAKPOINTS": 1, "DEBUG_WATCHPOINTS": 2, "DEBUG_CODE": 4,  # what debug_changed is told of
    "PAGE_INTERPRET": 16,  # never run its translations
    "PAGE_TOUCHED": 32,  # read, written or fetched from since dirty_take
    "CHUNK_DIRTY": 1, "CHUNK_TOUCHED": 2,  # what dirty_take says of a chunk
    # Trace.mask
    "TRACE_SYSCALLS": 1, "TRACE_TRAPS": 2, "TRACE_INTERRUPTS": 4, "TRACE_SWITCHES": 8, "TRACE_DEVICES": 16,
    # kinds of records
    "TRACE_KIND_CALL": 1, "TRACE_KIND_RETURN": 2, "TRACE_KIND_TRAP": 3, "TRACE_KIND_INTERRUPT": 4,
    "TRACE_KIND_SWITCH": 5, "TRACE_KIND_NOTIFY": 6, "TRACE_KIND_CLAIM": 7, "TRACE_KIND_SAMPLE": 8,
    # what an argument of a system call points to: text; several texts; bytes, as
    # many as the next argument says; bytes, as many as the call returns; 8 or 16 bytes
    "TRACE_STRING": 1, "TRACE_STRINGS": 2, "TRACE_IN": 3, "TRACE_OUT": 4, "TRACE_OUT8": 5, "TRACE_IN16": 6, "TRACE_OUT16": 7,
    "TRACE_CALL_WANTED": 1 << 31, "TRACE_CALL_ENDS": 1 << 30,  # ENDS: the call does not return
    # Virtio.backend
    "VIRTIO_BACKEND_NONE": 0, "VIRTIO_BACKEND_CONSOLE": 1, "VIRTIO_BACKEND_BLOCK": 2,
    "VIRTIO_BACKEND_PYTHON": 3, "VIRTIO_BACKEND_NET": 4,
    "NET_FRAME": NET_FRAME, "NET_BELL_BYTES": PAGE,
}

_SCALARS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "f64": 8}
_C_TYPES = {"u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t", "f64": "double"}


@dataclass(frozen=True)
class Slot:
    """One field: byte offset in its structure, element type, element size, count."""

    offset: int
    type: str
    size: int
    count: int


@dataclass(frozen=True)
class Struct:
    name: str
    size: int
    align: int
    fields: dict[str, Slot]


def aligned(value: int, to: int) -> int:
    """The next multiple of `to`, a power of two."""
    return (value + to - 1) & -to


def _compute() -> dict[str, Struct]:
    done: dict[str, Struct] = {}
    for name, fields in STRUCTS.items():
        offset, align, slots = 0, 1, {}
        for field in fields:
            kind, count = field[1], (field[2] if len(field) == 3 else 1)
            size, own = (_SCALARS[kind],) * 2 if kind in _SCALARS else (done[kind].size, done[kind].align)
            offset = aligned(offset, own)
            slots[field[0]] = Slot(offset, kind, size, count)
            offset += size * count
            align = max(align, own)
        done[name] = Struct(name, aligned(offset, align), align, slots)
    return done


LAYOUT = _compute()


@lru_cache(4096)  # asked for thousands of times a second, of a few hundred fields
def field(path: str, *indexes: int) -> Slot:
    """Absolute slot of a dotted path, e.g. ``field("Machine.virtio.status", 2)``.

    Each array on the way takes the next index (0 when none is left); a path
    starts at ``Machine`` or ``Hart`` (whose first index is the hart).
    """
    root, *names = path.split(".")
    pending = list(indexes)
    if root == "Hart":
        hart = pending.pop(0) if pending else 0
        if not 0 <= hart < MAX_HARTS:
            raise IndexError(f"{path}: hart {hart} is outside 0..{MAX_HARTS - 1}")
        base = HART_BASE + HART_STRIDE * hart
    else:
        base = MACHINE_BASE
    kind, slot = root, Slot(0, root, 0, 1)
    for name in names:
        slot = LAYOUT[kind].fields[name]
        index = pending.pop(0) if slot.count > 1 and pending else 0
        if not 0 <= index < slot.count:
            raise IndexError(f"{path}: index {index} is outside 0..{slot.count - 1}")
        base += slot.offset + index * slot.size
        kind = slot.type
    return Slot(base, slot.type, slot.size, slot.count)


def c_header() -> str:
    """The text of cpu/generated/layout.h."""
    lines = [
        "/* Generated from py/hartwell/layout.py; edit that. */",
        "#ifndef HARTWELL_LAYOUT_H", "#define HARTWELL_LAYOUT_H",
        "#include <stddef.h>", "#include <stdint.h>", "",
    ]
    lines += [f"#define {name} {value:#x}u" for name, value in CONSTANTS.items()]
    for struct in LAYOUT.values():
        lines += ["", f"struct {struct.name} {{"]
        for name, slot in struct.fields.items():
            kind = _C_TYPES.get(slot.type, f"struct {slot.type}")
            lines.append(f"    {kind} {name}{f'[{slot.count}]' if slot.count > 1 else ''};")
        lines.append("};")
        lines += [
            f'_Static_assert(offsetof(struct {struct.name}, {name}) == {slot.offset}, "{struct.name}.{name}");'
            for name, slot in struct.fields.items()
        ]
        lines.append(f'_Static_assert(sizeof(struct {struct.name}) == {struct.size}, "{struct.name}");')
    lines += ["", f"#define LAYOUT_DIGEST {layout_digest():#x}u", "", "#endif", ""]
    return "\n".join(lines)


@lru_cache
def layout_digest() -> int:
    """What tells this layout from others, in 32 bits; cpu.wasm answers it as `layout_digest()`."""
    return int.from_bytes(hashlib.sha256(repr((STRUCTS, CONSTANTS)).encode()).digest()[:4], "little")


assert MACHINE_BASE + LAYOUT["Machine"].size <= HART_BASE
assert LAYOUT["Hart"].size <= HART_STRIDE

if __name__ == "__main__":
    sys.stdout.write(c_header())
