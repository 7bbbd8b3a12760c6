// Reads vectors.txt, writes words.txt. A vector is "op a b c" in hex:
//   0: load I, PULSE, d    1: set FULL, DECAY, finite    2: hear the event word a    3: step, and show the words after it
`timescale 1ns / 1ns
module dpi_tb;
    reg clk = 0, load = 0, hear = 0, step = 0, finite = 0;
    reg [31:0] op, a, b, c;
    reg [30:0] full = 0, seen = 0;
    reg [24:0] decay = 0;
    wire [30:0] i, delivered;
    wire [30:0] pulse;
    wire [23:0] d;
    integer in, out, got;

    dpi word (.clk(clk), .load(load), .load_i(a[30:0]), .load_pulse(b[30:0]), .load_d(c[23:0]), .finite(finite), .full(full),
              .decay(decay), .hear(hear), .e(a[30:0]), .step(step), .i(i), .pulse(pulse), .d(d), .delivered(delivered));

    initial begin
        in = $fopen("vectors.txt", "r");
        out = $fopen("words.txt", "w");
        got = $fscanf(in, "%h %h %h %h", op, a, b, c);
        while (got == 4) begin
            load = op == 0;
            hear = op == 2;
            step = op == 3;
            if (op == 1) begin
                full = a[30:0];
                decay = b[24:0];
                finite = c[0];
            end
            #1 seen = delivered;
            clk = 1;
            #1 clk = 0;
            if (op == 3) $fdisplay(out, "%h %h %h %h", seen, i, pulse, d);
            got = $fscanf(in, "%h %h %h %h", op, a, b, c);
        end
        $fclose(out);
        $finish;
    end
endmodule
