#include "engine/fabric/shm/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/cleanup.h"
#include "engine/fabric/shm/memory.h"

#define SIZE sizeof(struct ledger)

static enum mc_status map(int fd, struct ledger **ledger)
{
	void *mapped = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mapped == MAP_FAILED)
		return MC_NO_MEMORY;
	*ledger = mapped;
	return MC_OK;
}

enum mc_status ledger_new(struct ledger **ledger, int *fd)
{
	CLEANUP_FD int made = memfd_create("mooncake-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (made < 0)
		return errno == EMFILE || errno == ENFILE ? MC_NO_SPACE : MC_NO_MEMORY;
	if (ftruncate(made, (off_t)SIZE) != 0 ||
	    fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return MC_NO_MEMORY;
	enum mc_status status = map(made, ledger);
	if (!status)
		*fd = STEAL_FD(made);
	return status;
}

enum mc_status ledger_map(int fd, struct ledger **ledger)
{
	uint64_t size;

	return memory_measure(fd, &size) || size != SIZE ? MC_PROTOCOL : map(fd, ledger);
}

void ledger_free(struct ledger *ledger)
{
	if (ledger)
		munmap(ledger, SIZE);
}

bool ledger_enter(struct ledger *ledger, uint32_t slot)
{
	struct ledger_slot *at = &ledger->slots[slot];

	/* The lender's store to withdrawn comes before its load of users. */
	atomic_fetch_add(&at->users, 1);
	if (!atomic_load(&at->withdrawn))
		return true;
	atomic_fetch_sub(&at->users, 1);
	return false;
}

void ledger_leave(struct ledger *ledger, uint32_t slot)
{
	atomic_fetch_sub(&ledger->slots[slot].users, 1);
}

bool ledger_withdrawn(struct ledger *ledger, uint32_t slot)
{
	return atomic_load(&ledger->slots[slot].withdrawn) != 0;
}

void ledger_return(struct ledger *ledger, uint32_t slot)
{
	atomic_store(&ledger->slots[slot].returned, 1);
}

void ledger_lend(struct ledger *ledger, uint32_t slot)
{
	atomic_store(&ledger->slots[slot].returned, 0);
	atomic_store(&ledger->slots[slot].withdrawn, 0);
}

void ledger_withdraw(struct ledger *ledger, uint32_t slot)
{
	atomic_store(&ledger->slots[slot].withdrawn, 1);
}

bool ledger_used(struct ledger *ledger, uint32_t slot)
{
	return atomic_load(&ledger->slots[slot].users) != 0;
}

bool ledger_returned(struct ledger *ledger, uint32_t slot)
{
	return atomic_load(&ledger->slots[slot].returned) != 0;
}
