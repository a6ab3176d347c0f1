/* An ordinary ELF program, as it sees itself.
 *
 * Prints lines "ELF name value" that the host compares with what a reader of
 * ELF and DWARF finds in the file.
 */
#include "wish.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>

int landmark_data = 0x1badcafe;

__attribute__((noinline)) int landmark(int value) { return value * 3 + __LINE__; }

static int segments(struct dl_phdr_info *info, size_t size, void *sum)
{
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD)
            *(unsigned long *)sum += info->dlpi_phdr[i].p_memsz;
    return 1;
}

int main(void)
{
    Elf64_Ehdr head;
    int file = NEED(open("/proc/self/exe", O_RDONLY));
    NEED(read(file, &head, sizeof head));
    fact(memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 && head.e_machine == EM_RISCV && head.e_ident[EI_CLASS] == ELFCLASS64,
         "the running file is ELF64 for RISC-V");
    fact(getauxval(AT_ENTRY) == head.e_entry, "the kernel entered it where its header says");
    Elf64_Phdr first;
    NEED(pread(file, &first, sizeof first, (off_t)head.e_phoff));
    fact(memcmp((void *)getauxval(AT_PHDR), &first, sizeof first) == 0, "its program headers are in memory");
    unsigned long loaded = 0;
    dl_iterate_phdr(segments, &loaded);

    FILE *maps = fopen("/proc/self/maps", "r");
    char line[300];
    bool code = false, data = false;
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char access[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, access) != 3)
            continue;
        code |= (unsigned long)landmark >= start && (unsigned long)landmark < end && strcmp(access, "r-xp") == 0;
        data |= (unsigned long)&landmark_data >= start && (unsigned long)&landmark_data < end &&
                strcmp(access, "rw-p") == 0;
    }
    fact(code, "code is mapped r-x");
    fact(data, "data is mapped rw-");
    printf("ELF entry %#lx\nELF landmark %p\nELF landmark_data %p\nELF loaded %#lx\n", head.e_entry, (void *)landmark,
           (void *)&landmark_data, loaded);
    printf("ELF line %d\nELF value %#x\n", landmark(0), landmark_data);
    return wish_result();
}
