package axle.interop;

/** A stock Dubbo client of a ledger whose calls are hedged. Argument: port. */
public class HastyClient {
    public static void main(String[] args) throws Exception {
        new Hasty().calls(new References("dubbo://127.0.0.1:" + args[0], "hessian2").of(Ledger.class, 30_000));
        System.exit(0);
    }
}
