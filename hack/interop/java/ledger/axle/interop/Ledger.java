package axle.interop;

/** What servers offer and clients call, in Java as in Node.js. */
public interface Ledger {
    String echo(String text);

    int add(int a, int b);

    String repeat(String text, int times);

    /** Returns the entry with its amounts summed up in total. */
    Entry post(Entry entry);

    /** Answers after ms milliseconds. */
    String slow(String text, int ms);

    /** Counts; it is called one-way. */
    void note(int id);

    /** How often note was called with different ids, or -1 when one of them came twice. */
    int noted();

    String fail(String text) throws LedgerException;
}
