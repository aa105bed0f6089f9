package axle.interop;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** The ledger that servers offer. */
public class Books implements Ledger {
    /** How long every second call of slow takes, whatever its client says, and none the others; each is told. Negative for none of that. */
    private static final int LATE = Integer.getInteger("interop.late", -1);

    private final Set<Integer> ids = ConcurrentHashMap.newKeySet();
    private final AtomicInteger calls = new AtomicInteger();

    @Override
    public String echo(String text) {
        return text;
    }

    @Override
    public int add(int a, int b) {
        return a + b;
    }

    @Override
    public String repeat(String text, int times) {
        return text.repeat(times);
    }

    @Override
    public Entry post(Entry entry) {
        entry.setTotal(entry.getAmounts().stream().mapToLong(Integer::longValue).sum());
        return entry;
    }

    @Override
    public String slow(String text, int ms) {
        if (LATE >= 0) {
            System.out.println("took " + text);
        }
        try {
            Thread.sleep(LATE < 0 ? ms : text.hashCode() % 2 == 0 ? LATE : 0);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        return text;
    }

    @Override
    public void note(int id) {
        ids.add(id);
        calls.incrementAndGet();
    }

    @Override
    public int noted() {
        return calls.get() == ids.size() ? ids.size() : -1;
    }

    @Override
    public String fail(String text) throws LedgerException {
        throw new LedgerException(text);
    }
}
