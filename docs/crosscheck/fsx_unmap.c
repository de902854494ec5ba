/*
 * fsx 0.3 leaves each of its mappings in place: a million operations would make some 300,000, and a truncation looks through all that there are. This, preloaded
 * (LD_PRELOAD), unmaps the last one before the next is made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

static void *last;
static size_t last_length;

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
	void *(*real)(void *, size_t, int, int, int, off64_t) = dlsym(RTLD_NEXT, "mmap64");
	void *mapped;

	if (fd < 0)
		return real(address, length, protection, flags, fd, offset);
	if (last)
		munmap(last, last_length);
	mapped = real(address, length, protection, flags, fd, offset);
	last = mapped == MAP_FAILED ? NULL : mapped;
	last_length = length;
	return mapped;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return mmap64(address, length, protection, flags, fd, offset);
}
