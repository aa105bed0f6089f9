package axle.interop;

import java.util.concurrent.atomic.AtomicInteger;

/** A client to whom some of its calls may be slow: several at a time, and no text is in two of them. */
public class Hasty {
    private static final int THREADS = 4;

    private final AtomicInteger next = new AtomicInteger();
    private final Report report = new Report();

    public void calls(Ledger ledger) throws Exception {
        Thread[] threads = new Thread[THREADS];
        for (int i = 0; i < THREADS; i++) {
            threads[i] = report.keep("hedged", () -> asked(ledger));
        }
        report.untilStopped(threads);
        report.print("in all");
    }

    private boolean asked(Ledger ledger) {
        String text = "text-" + next.incrementAndGet();
        return ledger.slow(text, 0).equals(text);
    }
}
