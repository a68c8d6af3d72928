/*
 * Writes what a mapping of a file shows to standard output.
 *
 *     mapped FILE | sha256sum
 *
 * For guests: the shell has read(2) only.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct stat at;
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;
	if (fd < 0 || fstat(fd, &at) != 0) {
		fprintf(stderr, "usage: mapped FILE (that exists)\n");
		return 2;
	}
	size_t size = (size_t)at.st_size;
	const char *memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		perror("mapped: mmap");
		return 1;
	}
	for (size_t shown = 0; shown < size;) {
		ssize_t count = write(STDOUT_FILENO, memory + shown, size - shown);
		if (count <= 0) {
			perror("mapped: write");
			return 1;
		}
		shown += (size_t)count;
	}
	return 0;
}
